"""StarGAN's gradient as part of its forward pass, so that an ONNX file can hold it.

ONNX has no differentiation: what autograd would run backwards is written out here, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmorph.deepfakes.stargan import Generator, InstanceNorm, ResidualBlock

#: Takes the gradient with respect to a layer's output to that with respect to its input.
_Backward = Callable[[Tensor], Tensor]


class DifferentiatedGenerator(Generator):
    """A StarGAN generator that also says how to change a face so that an edit moves it less.

    Takes `Generator`'s arguments and weights.
    """

    def forward(self, faces: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Edit faces, and return the gradient of what defenses minimise (equation 7).

        Args:
            faces: x, (N, 3, H, W) in [-1,1].
            targets: (N, attributes) of 0 and 1.

        Returns:
            G(x, targets), and the gradient with respect to x of its mean squared distance from x
            (each face's own), both (N, 3, H, W).
        """
        planes = targets[:, :, None, None].expand(-1, -1, faces.shape[2], faces.shape[3])
        made, backward = _run(self.main, torch.cat([faces, planes], dim=1))
        whole = made if self.skip is None else self.skip.weight * faces + made
        edited = whole if self.skip is None else whole.clamp(-1, 1)
        towards = (edited - faces) * (2 / faces[0].numel())
        inside = towards if self.skip is None else towards * (whole.abs() <= 1)
        gradient = backward(inside)[:, : faces.shape[1]] - towards
        if self.skip is not None:
            gradient = gradient + self.skip.weight * inside
        return edited, gradient


def _run(layers: Iterable[nn.Module], x: Tensor) -> tuple[Tensor, _Backward]:
    """Run layers one after the other; return the result and the way back."""
    ways: list[_Backward] = []
    for layer in layers:
        x, backward = _step(layer, x)
        ways.append(backward)

    def back(gradient: Tensor) -> Tensor:
        for way in reversed(ways):
            gradient = way(gradient)
        return gradient

    return x, back


def _step(layer: nn.Module, x: Tensor) -> tuple[Tensor, _Backward]:
    if isinstance(layer, ResidualBlock):
        y, inner = _run(layer.main, x)
        return x + y, lambda gradient: gradient + inner(gradient)
    if isinstance(layer, InstanceNorm):
        return _normalise(layer, x)
    y = layer(x)
    if isinstance(layer, nn.ReLU):
        return y, lambda gradient: gradient * (y > 0)
    if isinstance(layer, nn.Tanh):
        return y, lambda gradient: gradient * (1 - y * y)
    weight = layer.get_parameter("weight")
    if isinstance(layer, nn.ConvTranspose2d):
        return y, lambda gradient: F.conv2d(gradient, weight, None, layer.stride, layer.padding)
    if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str):
        raise TypeError(f"no gradient written out for {type(layer).__name__}")
    if layer.stride == (1, 1):
        # A plain convolution with the kernel turned around: runtimes have those at their fastest.
        turned = weight.flip(2, 3).transpose(0, 1)
        return y, lambda gradient: F.conv2d(gradient, turned, None, 1, layer.padding)
    return y, lambda gradient: F.conv_transpose2d(
        gradient, weight, None, layer.stride, layer.padding
    )


def _normalise(layer: InstanceNorm, x: Tensor) -> tuple[Tensor, _Backward]:
    centred = x - x.mean((2, 3), keepdim=True)
    scale = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + 1e-5)
    normal = centred * scale
    weight = layer.weight[:, None, None]

    def back(gradient: Tensor) -> Tensor:
        gradient = gradient * weight
        along = (gradient * normal).mean((2, 3), keepdim=True)
        return scale * (gradient - gradient.mean((2, 3), keepdim=True) - normal * along)

    return layer(x), back

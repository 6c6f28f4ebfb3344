"""Fast-AgingGAN: a published generator that moves a face to another age group.

Layers and their names are those of the published Keras weights (72,531 parameters, trained on
CACD2000 at 128x128). It was trained by others, without a cycle and without normalising each image:
nothing in it was made with a defense in mind.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmorph.deepfakes.base import Deepfake, NetworkDeepfake, register
from unmorph.errors import WeightsError
from unmorph.weights.store import identity, locate
from unmorph.weights.tensors import differences, read_tensors

#: The age groups in years, in the order of the plane that asks for one.
AGES = ("10-19", "20-29", "30-39", "40-49", "50+")

_WIDTH = 24
_EXPANDED = 6 * _WIDTH
_EPSILON = 1e-3

#: What Keras calls a layer's tensors, and what torch does.
_CONVOLUTION = {"kernel": "weight", "bias": "bias"}
_DEPTHWISE = {"depthwise_kernel": "weight", "bias": "bias"}
_NORMALISATION = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

#: From Keras' order of a kernel's axes to torch's.
_AXES = {"kernel": (3, 2, 0, 1), "depthwise_kernel": (2, 3, 0, 1)}


class AgingGenerator(nn.Module):
    """Fast-AgingGAN's generator, its layers named as its publisher's."""

    def __init__(self) -> None:
        super().__init__()
        for number, (channels, stride) in enumerate(((4, 1), (_WIDTH, 2), (_WIDTH, 2))):
            padding = 0 if stride == 2 else 1  # strided ones pad below and to the right only
            conv = nn.Conv2d(channels, _WIDTH, 3, stride, padding)
            self.add_module(f"conv2d_{5 + number}", conv)
            self.add_module(f"batch_normalization_{3 + number}", _norm(_WIDTH))
        self.blocks = ("expanded_conv", *(f"block_{number}" for number in range(1, 6)))
        for block in self.blocks:
            width = _WIDTH if block == "expanded_conv" else _EXPANDED
            if width != _WIDTH:
                self.add_module(f"{block}_expand", nn.Conv2d(_WIDTH, width, 1))
                self.add_module(f"{block}_expand_BN", _norm(width))
            depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
            self.add_module(f"{block}_depthwise", depthwise)
            self.add_module(f"{block}_depthwise_BN", _norm(width))
            self.add_module(f"{block}_project", nn.Conv2d(width, _WIDTH, 1))
            self.add_module(f"{block}_project_BN", _norm(_WIDTH))
        for number, channels in ((8, _WIDTH), (9, _WIDTH), (10, 3)):
            self.add_module(f"conv2d_{number}", nn.Conv2d(_WIDTH, channels, 3, padding=1))

    def forward(self, faces: Tensor, groups: Tensor) -> Tensor:
        """Move faces (N, 3, H, W) in [-1,1] to age groups (N, 1) of 0 to 4."""
        planes = groups[:, :, None, None].to(faces.dtype)
        planes = planes.expand(-1, -1, faces.shape[2], faces.shape[3])
        fine = self._down(torch.cat([faces, planes], dim=1), 0)
        x = self._down(F.pad(fine, (0, 1, 0, 1)), 1)
        x = self._down(F.pad(x, (0, 1, 0, 1)), 2)
        for block in self.blocks:
            x = x + self._residual(block, x)
        x = self._up("conv2d_8", x)
        x = self._up("conv2d_9", x)
        made: Tensor = self.get_submodule("conv2d_10")(x + fine)
        return torch.tanh(made)

    def _down(self, x: Tensor, number: int) -> Tensor:
        x = self.get_submodule(f"conv2d_{5 + number}")(x)
        x = self.get_submodule(f"batch_normalization_{3 + number}")(x)
        return F.leaky_relu(x, 0.3)

    def _residual(self, block: str, x: Tensor) -> Tensor:
        if block != "expanded_conv":
            x = self.get_submodule(f"{block}_expand")(x)
            x = F.relu(self.get_submodule(f"{block}_expand_BN")(x))
        x = self.get_submodule(f"{block}_depthwise")(x)
        x = F.relu(self.get_submodule(f"{block}_depthwise_BN")(x))
        x = self.get_submodule(f"{block}_project")(x)
        y: Tensor = self.get_submodule(f"{block}_project_BN")(x)
        return y

    def _up(self, layer: str, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.leaky_relu(self.get_submodule(layer)(x), 0.3)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


def load_generator(path: str | os.PathLike[str]) -> AgingGenerator:
    """Build the generator with the weights in a file.

    Args:
        path: a ``.safetensors`` file with Keras' tensor names and kernels as it orders them.

    Raises:
        WeightsError: the file cannot be read, or is no Fast-AgingGAN generator; the message says
            where it differs.
    """
    generator = AgingGenerator()
    names = _published_names(generator)
    tensors = {}
    for name, value in read_tensors(path).items():
        axes = _AXES.get(name.rpartition(".")[2])
        tensors[name] = value.permute(axes) if axes and value.ndim == 4 else value
    own = generator.state_dict()
    if wrong := differences({name: own[torchs] for name, torchs in names.items()}, tensors):
        raise WeightsError(
            f"{path}: not a Fast-AgingGAN generator: {wrong}; give the file that `unmorph weights "
            "list` names fast-aginggan"
        )
    # Torch's layers also count batches, which no published tensor does.
    generator.load_state_dict({names[n]: v.contiguous() for n, v in tensors.items()}, strict=False)
    return generator


def _published_names(generator: AgingGenerator) -> dict[str, str]:
    """Return what torch calls each tensor, by what Keras does."""
    names = {}
    for layer, module in generator.named_children():
        kinds = _CONVOLUTION
        if isinstance(module, nn.BatchNorm2d):
            kinds = _NORMALISATION
        elif layer.endswith("_depthwise"):
            kinds = _DEPTHWISE
        names.update({f"{layer}.{keras}": f"{layer}.{torchs}" for keras, torchs in kinds.items()})
    return names


class FastAgingGAN(NetworkDeepfake):
    """Fast-AgingGAN moving a face to each of five age groups, whatever its own is."""

    edits = AGES
    size = 128

    def targets(self, edit: str, labels: Tensor) -> Tensor:
        """Return the number of an age group for each face, (N, 1); of labels only N counts.

        Raises:
            ConfigError: the edit is unknown; the message lists the choices.
        """
        return torch.full((len(labels), 1), float(self.position(edit)), device=labels.device)


@register("fast-aginggan")
def _load(weights: Path | None) -> Deepfake:
    """The published network, through the weights store, or a given file."""
    path = weights or locate("fast-aginggan")
    generator = load_generator(path)
    return FastAgingGAN(generator, {"origin": "published as Fast-AgingGAN", **identity(path)})

"""LPIPS-AlexNet v0.1 (Zhang et al. 2018), from the trunk and heads in the weights store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmorph.metrics.pixels import check_pair
from unmorph.weights import load_tensors

#: AlexNet's convolutions: index in torchvision's ``features``, stride, padding, pool before it.
_CONVOLUTIONS = (
    (0, 4, 2, False),
    (3, 1, 2, True),
    (6, 1, 1, True),
    (8, 1, 1, False),
    (10, 1, 1, False),
)


class LPIPS(nn.Module):
    """The learned perceptual distance of face batches, 0 for equal images.

    Args:
        trunk: AlexNet's tensors ``features.0.weight`` ...; without them the stored ``alexnet``.
        heads: the tensors ``lin0.model.1.weight`` ...; without them the stored ``lpips-alex``.

    Raises:
        WeightsError: a stored file cannot be had.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        trunk: Mapping[str, Tensor] | None = None,
        heads: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        trunk = load_tensors("alexnet") if trunk is None else trunk
        heads = load_tensors("lpips-alex") if heads is None else heads
        for level, (index, *_) in enumerate(_CONVOLUTIONS):
            self.register_buffer(f"weight{level}", trunk[f"features.{index}.weight"])
            self.register_buffer(f"bias{level}", trunk[f"features.{index}.bias"])
            self.register_buffer(f"head{level}", heads[f"lin{level}.model.1.weight"])
        shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def activations(self, faces: Tensor) -> list[Tensor]:
        """Return the five activations of ``faces``, each position of unit length over channels."""
        x = (faces - self.shift) / self.scale
        activations = []
        for level, (_, stride, padding, pool) in enumerate(_CONVOLUTIONS):
            if pool:
                x = F.max_pool2d(x, 3, stride=2)
            weight, bias = self.get_buffer(f"weight{level}"), self.get_buffer(f"bias{level}")
            x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))
            activations.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return activations

    def compare(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """Return the distance (N,) of two sets of `activations`."""
        levels = []
        for level, (a, b) in enumerate(zip(first, second, strict=True)):
            weighted = F.conv2d((a - b).square(), self.get_buffer(f"head{level}"))
            levels.append(weighted.mean(dim=(1, 2, 3)))
        return torch.stack(levels).sum(dim=0)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance (N,) of two face batches in [-1,1]."""
        check_pair(first, second)
        return self.compare(self.activations(first), self.activations(second))

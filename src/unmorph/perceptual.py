"""VGG16 feature distance: one formula for the loss L_feat and for the perceptual metric.

The metric takes four layers; the loss those that a configuration names, in ours two for their cost.

The network is the original Oxford VGG16 (Simonyan & Zisserman 2015, the Caffe weights), cut after
the deepest layer asked for. The distance is the feature reconstruction loss of Johnson et al. 2016
(equation 2): the mean squared difference of the activations, averaged over the layers. The paper
names neither layer nor normalisation, so only ratios of this figure compare with its column
"perceptual".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmorph.errors import ConfigError
from unmorph.levels import LEVELS
from unmorph.weights.store import load_tensors

#: Convolutions of each block that the stored file holds.
_BLOCKS = {1: 2, 2: 2, 3: 3, 4: 3}

#: Activations that can be asked for, shallow to deep: ``relu1_1`` ... ``relu4_3``.
VGG_LAYERS = tuple(f"relu{b}_{c}" for b, count in _BLOCKS.items() for c in range(1, count + 1))

#: The metric's layers: the last activation of each of the four blocks.
METRIC_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


class VGGFeatures(nn.Module):
    """Frozen VGG16 activations of face batches.

    Args:
        layers: names in `VGG_LAYERS`; nothing deeper than the deepest is built or run.
        weights: tensors ``block1_conv1.weight`` ...; without them the stored ``vgg16`` is located.

    Raises:
        ConfigError: a layer is unknown, or none is given.
        WeightsError: the stored file cannot be had.
    """

    mean: Tensor

    def __init__(
        self,
        layers: Sequence[str] = METRIC_LAYERS,
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if unknown := set(layers) - set(VGG_LAYERS):
            wrong = ", ".join(sorted(unknown))
            raise ConfigError(f"unknown VGG16 layer {wrong}; choose from {', '.join(VGG_LAYERS)}")
        if not layers:
            raise ConfigError(f"no VGG16 layer given; choose from {', '.join(VGG_LAYERS)}")
        self.layers = tuple(name for name in VGG_LAYERS if name in layers)
        tensors = load_tensors("vgg16") if weights is None else weights
        self.convolutions = nn.ModuleDict()
        for name in VGG_LAYERS[: VGG_LAYERS.index(self.layers[-1]) + 1]:
            key = name.replace("relu", "block").replace("_", "_conv")
            weight, bias = tensors[f"{key}.weight"], tensors[f"{key}.bias"]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            self.convolutions[name] = convolution
        # Caffe's pixel means in the network's BGR order.
        mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """Return the activations (N, C, H, W) of ``faces`` in [-1,1], in the order of `layers`."""
        x = (faces.flip(1) + 1) * LEVELS - self.mean
        activations = []
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(convolution(x))
            if name in self.layers:
                activations.append(x)
        return tuple(activations)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the feature distance (N,) of two face batches in [-1,1]; differentiable."""
        return feature_distance(self(first), self(second))


def feature_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Average over the layers the mean squared difference of their activations, per image (N,)."""
    per_layer = [(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(first, second, strict=True)]
    return torch.stack(per_layer).mean(dim=0)

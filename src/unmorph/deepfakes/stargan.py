"""StarGAN (Choi et al., CVPR 2018): one generator that edits several face attributes.

Layer names and shapes are the publisher's (github.com/yunjey/stargan), so a published
``*-G.ckpt`` loads as it is.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.deepfakes.base import Deepfake, NetworkDeepfake, register
from unmorph.errors import ConfigError, WeightsError
from unmorph.runtime import SHIPPED
from unmorph.weights.store import identity, locate
from unmorph.weights.tensors import differences, read_tensors

#: What a published file holds beyond the weights: the publisher's layer tracks running statistics
#: but always runs on those of the image.
_UNUSED = ("running_mean", "running_var", "num_batches_tracked")


class InstanceNorm(nn.Module):
    """Affine instance normalisation over each image's own statistics.

    Input and output are (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return F.instance_norm(x, weight=self.weight, bias=self.bias)
        # The same in plain sums: a compiled training step takes 14 ms a face with them and 20 ms
        # with the library's call (conv_dim 32, 128x128, two CPU cores).
        mean = x.mean((2, 3), keepdim=True, dtype=torch.float32)
        variance = (x * x).mean((2, 3), keepdim=True, dtype=torch.float32) - mean * mean
        scale = self.weight[:, None, None] * torch.rsqrt(variance + 1e-5)
        shift = self.bias[:, None, None] - mean * scale
        return x * scale.to(x.dtype) + shift.to(x.dtype)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance normalisation, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.main(x)
        return y


class Skip(nn.Module):
    """Adds what the network makes to the face that it was given."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Always 1: a file that holds it is of a network that needs it.
        self.register_buffer("weight", torch.ones(1))

    def forward(self, faces: Tensor, change: Tensor) -> Tensor:
        """Return faces plus change, both (N, 3, H, W) in [-1,1], kept in that range."""
        return (self.weight * faces + change).clamp(-1, 1)


class Generator(nn.Module):
    """StarGAN's generator.

    Args:
        conv_dim: channels after the first convolution (the publisher's networks: 64).
        attributes: number of attribute domains.
        repeat_num: residual blocks at the bottleneck (the publisher's networks: 6).
        residual: whether the network makes what an edit changes, which is added to the face, or
            the whole edited face (the publisher's networks).
    """

    def __init__(
        self,
        conv_dim: int = 64,
        attributes: int = 5,
        repeat_num: int = 6,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.skip = Skip() if residual else None
        layers: list[nn.Module] = [
            nn.Conv2d(3 + attributes, conv_dim, 7, padding=3, bias=False),
            InstanceNorm(conv_dim),
            nn.ReLU(),
        ]
        channels = conv_dim
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False),
                InstanceNorm(2 * channels),
                nn.ReLU(),
            ]
            channels *= 2
        layers += [ResidualBlock(channels) for _ in range(repeat_num)]
        for _ in range(2):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
                InstanceNorm(channels // 2),
                nn.ReLU(),
            ]
            channels //= 2
        layers += [nn.Conv2d(channels, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        """Edit ``faces`` (N, 3, H, W) in [-1,1] towards ``targets`` (N, attributes) of 0 and 1."""
        planes = targets[:, :, None, None].to(faces.dtype)
        planes = planes.expand(-1, -1, faces.shape[2], faces.shape[3])
        made: Tensor = self.main(torch.cat([faces, planes], dim=1))
        return made if self.skip is None else self.skip(faces, made)

    @torch.no_grad()
    def start_from_(self, other: Generator) -> None:
        """Take over the layers of a generator of the same size.

        A residual network that takes over from one of the other kind does so without the last
        layer: it starts at zero, with exact copies of its input.

        Raises:
            ConfigError: the other is of another size.
        """
        own, others = self.state_dict(), other.state_dict()
        if self.skip is not None and other.skip is None:
            last = [name for name in others if name.startswith("main.")][-1]
            others |= {"skip.weight": self.skip.weight, last: torch.zeros_like(others[last])}
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in others.items()}:
            raise ConfigError("its conv_dim, repeat_num or kind is not the configuration's")
        self.load_state_dict(others)

    @torch.no_grad()
    def amplify_(self, factor: float) -> None:
        """Multiply what a residual network adds to a face, as far as its tanh is still linear.

        Raises:
            ConfigError: the network adds nothing: it makes whole faces.
        """
        if factor != 1 and self.skip is None:
            raise ConfigError("only what a residual network adds to a face can be amplified")
        last = [m for m in self.main if isinstance(m, nn.Conv2d)][-1]
        last.weight.mul_(factor)

    @torch.no_grad()
    def start_near_identity_(self) -> None:
        """Set fresh weights so that the network starts by nearly copying its input.

        Some channels of each layer carry the pixels down to the bottleneck (as space-to-depth) and
        up again, each beside its negative so that ReLU loses nothing; the others keep their random
        weights, and residual blocks start at a tenth of their size. Such a network reproduces
        detail from the first step on and has brightness, contrast and the edits to learn.

        Raises:
            ConfigError: there are too few channels for that.
        """
        first, down1, down2, up1, up2, last = (
            m for m in self.main if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))
        )
        if first.out_channels < 24:  # 4 * conv_dim carry 3 colours, 16 positions and their signs
            raise ConfigError("a near-identity start needs a conv_dim of at least 24")
        for block in self.main:
            if isinstance(block, ResidualBlock):
                block.main[4].get_parameter("weight").fill_(0.1)
        for colour in range(3):
            _carry(first.weight, 2 * colour, (3, 3), {colour: 1.0})
        # Channel 2i carries a value, channel 2i + 1 its negative: their difference restores it.
        for conv, width in ((down1, 3), (down2, 12)):
            for position in range(4):
                tap = (1 + position // 2, 1 + position % 2)
                for value in range(width):
                    target = 2 * (position * width + value)
                    _carry(conv.weight, target, tap, {2 * value: 1.0, 2 * value + 1: -1.0})
        for conv, width in ((up1, 12), (up2, 3)):
            weight = conv.weight.transpose(0, 1)
            weight[: 2 * width] = 0
            for position in range(4):
                row, column = 1 + position // 2, 1 + position % 2
                for value in range(width):
                    source = 2 * (position * width + value)
                    for sign in (0, 1):
                        weight[2 * value + sign, source + sign, row, column] = 1.0
                        weight[2 * value + sign, source + 1 - sign, row, column] = -1.0
        last.weight.mul_(0.1)
        for colour in range(3):
            last.weight[colour, 2 * colour, 3, 3] += 0.5
            last.weight[colour, 2 * colour + 1, 3, 3] -= 0.5


def _carry(weight: Tensor, target: int, tap: tuple[int, int], sources: dict[int, float]) -> None:
    """Make output channel ``target`` the weighted sources at one tap, the next one its negative."""
    weight[target : target + 2] = 0
    row, column = tap
    for source, value in sources.items():
        weight[target, source, row, column] = value
        weight[target + 1, source, row, column] = -value


class Discriminator(nn.Module):
    """StarGAN's PatchGAN discriminator with a domain classifier beside it.

    Args:
        image_size: side of the square input in pixels; a multiple of ``2 ** repeat_num``.
        conv_dim: channels after the first convolution (the publisher's networks: 64).
        attributes: number of attribute domains.
        repeat_num: stride-2 convolutions (the publisher's networks: 6).
    """

    def __init__(
        self, image_size: int = 128, conv_dim: int = 64, attributes: int = 5, repeat_num: int = 6
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = [3, *(conv_dim * 2**i for i in range(repeat_num))]
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
        channels = widths[-1]
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, attributes, image_size // 2**repeat_num, bias=False)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return patch realness (N, 1, h, w) and attribute logits (N, attributes)."""
        features = self.main(faces)
        return self.conv1(features), self.conv2(features).flatten(1)


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """Build a generator of the five attributes as wide and deep as the weights in a file.

    Args:
        path: the publisher's ``*-G.ckpt``, or a ``.safetensors`` or ``.onnx`` file with the same
            tensor names.

    Raises:
        WeightsError: the file cannot be read, or is no StarGAN generator; the message says where
            it differs.
    """
    tensors = {k: v for k, v in read_tensors(path).items() if not k.endswith(_UNUSED)}
    first = tensors.get("main.0.weight")
    if first is None or first.ndim != 4:
        raise WeightsError(f"{path}: not a StarGAN generator: it has no tensor main.0.weight")
    # The residual blocks are the only modules with a name below their number.
    blocks = {name.split(".")[1] for name in tensors if ".main." in name}
    residual = "skip.weight" in tensors
    generator = Generator(first.shape[0], len(ATTRIBUTES), len(blocks), residual)
    if wrong := differences(generator.state_dict(), tensors):
        raise WeightsError(f"{path}: not a StarGAN generator: {wrong}")
    generator.load_state_dict(tensors)
    return generator


class StarGAN(NetworkDeepfake):
    """StarGAN editing the five CelebA attributes of the paper."""

    edits = ATTRIBUTES
    size = 128

    def targets(self, edit: str, labels: Tensor) -> Tensor:
        """Return labels (N, 5) changed by one edit (`unmorph.attributes.edit_targets`)."""
        return edit_targets(labels, edit)


def _load(path: Path, origin: str) -> StarGAN:
    return StarGAN(load_generator(path), {"origin": origin, **identity(path)})


@register("stargan")
def _stargan(weights: Path | None) -> Deepfake:
    """The StarGAN trained by this project, or a given file."""
    return _load(weights or SHIPPED / "stargan.onnx", "trained by unmorph")


@register("stargan-celeba-128")
def _published(weights: Path | None) -> Deepfake:
    """The publisher's network, through the weights store, or a given file."""
    return _load(weights or locate("stargan-celeba-128"), "published by Choi et al.")

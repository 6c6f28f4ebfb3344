"""StarGAN (Choi et al., CVPR 2018): one generator that edits several face attributes.

Layer names and shapes are the publisher's (github.com/yunjey/stargan), so a published
``*-G.ckpt`` loads as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: The paper's attribute domains, in the order of the publisher's CelebA networks.
ATTRIBUTES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")


class InstanceNorm(nn.Module):
    """Affine instance normalisation over each image's own statistics.

    The publisher's layer tracks running statistics but always runs on those of the image, so
    only ``weight`` and ``bias`` exist here. Input and output are ``(N, channels, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
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
        return x + self.main(x)


class Generator(nn.Module):
    """StarGAN's generator.

    Args:
        conv_dim: channels after the first convolution (the publisher's networks: 64).
        attributes: number of attribute domains.
        repeat_num: residual blocks at the bottleneck (the publisher's networks: 6).
    """

    def __init__(self, conv_dim: int = 64, attributes: int = 5, repeat_num: int = 6) -> None:
        super().__init__()
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
        return self.main(torch.cat([faces, planes], dim=1))

    @torch.no_grad()
    def start_near_identity_(self) -> None:
        """Set fresh weights so that the network starts by nearly copying its input.

        Some channels of each layer carry the pixels down to the bottleneck (as space-to-depth) and
        up again, each beside its negative so that ReLU loses nothing; the others keep their random
        weights, and residual blocks start at a tenth of their size. Such a network reproduces
        detail from the first step on and has brightness, contrast and the edits to learn.
        """
        first, down1, down2, up1, up2, last = (
            m for m in self.main if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))
        )
        for block in self.main:
            if isinstance(block, ResidualBlock):
                block.main[4].weight.fill_(0.1)
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
    """Let output channel ``target`` be the weighted sources at one tap, the next one its negative."""
    weight[target : target + 2] = 0
    for source, value in sources.items():
        weight[(target, source, *tap)] = value
        weight[(target + 1, source, *tap)] = -value


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
        layers: list[nn.Module] = [nn.Conv2d(3, conv_dim, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
        channels = conv_dim
        for _ in range(1, repeat_num):
            layers += [nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1), nn.LeakyReLU(0.01)]
            channels *= 2
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, attributes, image_size // 2**repeat_num, bias=False)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Return patch realness (N, 1, h, w) and attribute logits (N, attributes)."""
        features = self.main(faces)
        return self.conv1(features), self.conv2(features).flatten(1)

"""A small attribute classifier: reads hair colour, sex and age group off a face.

One instance labels photos that come without labels, another, trained apart, judges edits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmorph.attributes import ATTRIBUTES


class _Block(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, around a strided shortcut."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inner, outer, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.main(x) + self.shortcut(x))


class AttributeClassifier(nn.Module):
    """A residual network of four strided blocks on 128x128 faces.

    Args:
        width: channels of the stem; each block doubles them.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(_Block(width * 2**i, width * 2 ** (i + 1)) for i in range(4)))
        self.head = nn.Linear(width * 16, len(ATTRIBUTES))

    def forward(self, faces: Tensor) -> Tensor:
        """Return logits (N, 5) of faces (N, 3, 128, 128) in [-1,1]; positive: attribute present."""
        logits: Tensor = self.head(self.blocks(self.stem(faces)).mean(dim=(2, 3)))
        return logits

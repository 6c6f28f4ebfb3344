"""Small faces and small deepfakes that keep the contracts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.evaluation.run import Subject

#: Side of the test faces; SSIM's window needs more than 11 pixels.
SIZE = 16


class Tint:
    """A deepfake that adds a colour for each target label, unless a pixel is marked."""

    edits = ATTRIBUTES
    size = SIZE

    def __init__(self, strength: float = 0.25) -> None:
        self.calls = 0
        self.strength = strength

    def targets(self, edit: str, labels: Tensor, /) -> Tensor:
        return edit_targets(labels, edit)

    def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
        assert isinstance(edit, Tensor)
        self.calls += 1
        shift = self.strength * (edit @ torch.arange(1.0, 6.0)) / 15
        marked = faces[:, 0, 0, 0] == 1
        shift = torch.where(marked, 0.1 * shift, shift)
        return faces + shift.view(-1, 1, 1, 1)


def set_pixel(faces: Tensor, labels: Tensor | None = None) -> Tensor:
    protected = faces.clone()
    protected[:, :, 0, 0] = 1
    return protected


@pytest.fixture
def tint() -> Callable[[], Tint]:
    """Makes a `Tint`."""
    return Tint


@pytest.fixture
def mark() -> Callable[..., Tensor]:
    """A defense that `Tint` obeys: it sets one pixel."""
    return set_pixel


@pytest.fixture
def dataset(tmp_path: Path) -> FaceDataset:
    """Seven grey-noise faces with labels."""
    folder = tmp_path / "faces"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(7):
        pixels = generator.integers(40, 200, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    source = PhotoSource(folder)
    labels = generator.integers(0, 2, (7, 5)).astype(np.float32)
    return FaceDataset("folder", source, source.names, SIZE, labels)


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """Makes what a run takes: `Tint` and a defense, by default the one that it obeys."""

    def build(
        defense: Callable[[Tensor, Tensor | None], Tensor] = set_pixel,
        judge: Callable[[Tensor], Tensor] | None = None,
        deepfake: Tint | None = None,
    ) -> Subject:
        about = {
            "deepfake": {"name": "tint", "edits": list(ATTRIBUTES)},
            "defense": {"name": "none" if defense is not set_pixel else "mark"},
            "judge": {"file": "judge.onnx"} if judge else None,
        }
        return Subject(deepfake or Tint(), defense, judge, about)

    return build

"""Small faces and small deepfakes that keep the contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.evaluation.record import Figure, Record
from unmorph.evaluation.run import Subject
from unmorph.evaluation.summary import Summary

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


@pytest.fixture
def found() -> Callable[..., Record]:
    """Makes the record of a run that found given figures, of CelebA's whole test partition."""

    def build(
        figures: Mapping[str, tuple[float, float]],
        defense: Mapping[str, Any],
        dataset: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Record:
        """Take means and standard errors by ``comparison/metric``."""
        tables: dict[str, dict[str, Figure]] = {
            name: {} for name in ("input", "unprotected", "output", "total", "suppression", "dsr")
        }
        for name, (mean, error) in figures.items():
            comparison, metric = name.split("/")
            summary = Summary(mean, error, {}, 10)
            edits = dict.fromkeys(ATTRIBUTES, summary)
            tables.setdefault(comparison, {})[metric] = Figure(summary, edits)
        faces = {"name": "celeba", "split": "test", "subset": None, "count": 1999}
        return Record(
            created="2026-11-27T09:00:00+00:00",
            dataset={**faces, "files": {}, "photos_sha256": "a" * 64, **(dataset or {})},
            deepfake={"name": "stargan", "edits": list(ATTRIBUTES)},
            defense={"changed": {}, **defense},
            judge=None,
            settings={"labels": "publisher", "limit": None, "channel": "none", **others},
            machine={"device": "cpu", "name": "a CPU", "threads": 2, "system": "Linux"},
            versions={},
            commit="0" * 40,
            seconds=1.0,
            figures=tables,
        )

    return build

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unmorph.attributes import ATTRIBUTES
from unmorph.datasets.base import FaceDataset
from unmorph.errors import DataError
from unmorph.evaluation.record import write_record
from unmorph.evaluation.run import Subject
from unmorph.evaluation.tables import build_report
from unmorph.evaluation.tuning import is_tuned, tune


def test_the_best_combination_suppresses_most(
    dataset: FaceDataset, tint: Callable[..., Any]
) -> None:
    class Weaker:
        """Shrinks `Tint` to nothing at strength 2 and to a half at 1, only with the pixel set."""

        def __init__(self, strength: float) -> None:
            self.tint, self.strength = tint(), strength
            self.edits, self.size, self.targets = ATTRIBUTES, 16, self.tint.targets

        def edit(self, faces: Tensor, edit: Tensor | str) -> Tensor:
            moved = self.tint.edit(faces, edit) - faces
            marked = (faces[:, 0, 0, 0] == 1).view(-1, 1, 1, 1)
            return faces + torch.where(marked, (1 - self.strength / 2) * 10 * moved, moved)

    def build(options: Mapping[str, str]) -> Subject:
        def mark(faces: Tensor, labels: Tensor | None) -> Tensor:
            protected = faces.clone()
            protected[:, :, 0, 0] = float(options["mark"])
            return protected

        about = {
            "deepfake": {"name": "tint", "edits": list(ATTRIBUTES)},
            "defense": {"name": "mark", "epsilon": 2, "changed": dict(options)},
            "judge": None,
        }
        return Subject(Weaker(float(options["strength"])), mark, None, about)

    seen: list[dict[str, Any]] = []
    grid = {"strength": ["1", "2"], "mark": ["0", "1"]}
    found = tune(build, grid, dataset, about_dataset={"name": "folder"}, on_trial=seen.append)
    assert [trial["options"] for trial in found.trials] == [
        {"strength": strength, "mark": mark} for strength in "12" for mark in "01"
    ]
    assert [round(trial["s"], 2) for trial in found.trials] == [0, 0.75, 0, 1]
    assert found.best == found.trials[3]
    assert found.best["output_l2"] == pytest.approx(0, abs=1e-9)
    assert seen == found.trials
    assert found.settings["grid"] == grid
    assert found.defense == {"name": "mark", "epsilon": 2, "shared_options": {}}


def test_a_search_says_which_generators_its_refinements_started_from(
    dataset: FaceDataset, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    def build(options: Mapping[str, str], version: str = "1") -> Subject:
        built = subject()
        generator = {"file": options["weights"], "sha256": version}
        built.about["defense"].update(epsilon=2, generator=generator)
        return built

    grid, about = {"weights": ["a", "b"], "steps": ["1", "2"]}, {"name": "folder"}
    found = tune(build, grid, dataset, about_dataset=about)
    assert found.defense["generators"] == [
        {"file": "a", "sha256": "1"},
        {"file": "b", "sha256": "1"},
    ]
    path = tmp_path / "x.json"
    write_record(found, path)
    assert is_tuned(path, build, grid, dataset, about_dataset=about)
    newer = lambda options: build(options, "2")  # noqa: E731
    assert not is_tuned(path, newer, grid, dataset, about_dataset=about)
    fewer = {"weights": ["a", "b"], "steps": ["1"]}
    assert not is_tuned(path, build, fewer, dataset, about_dataset=about)


def test_a_search_says_what_it_did_not_try(
    dataset: FaceDataset, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    def build(options: Mapping[str, str], schedule: str = "linear") -> Subject:
        built = subject()
        built.about["defense"].update(epsilon=2, options={**options, "schedule": schedule})
        return built

    grid, about = {"steps": ["1", "2"]}, {"name": "folder"}
    found = tune(build, grid, dataset, about_dataset=about)
    assert found.defense["shared_options"] == {"schedule": "linear"}
    path = tmp_path / "x.json"
    write_record(found, path)
    assert is_tuned(path, build, grid, dataset, about_dataset=about)
    changed = lambda options: build(options, "constant")  # noqa: E731
    assert not is_tuned(path, changed, grid, dataset, about_dataset=about)


def test_a_search_in_which_nothing_changes_is_recorded(
    dataset: FaceDataset, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    def build(options: Mapping[str, str]) -> Subject:
        built = subject(lambda faces, labels: faces)
        built.about["defense"]["epsilon"] = 0
        return built

    found = tune(build, {"steps": ["1"]}, dataset, about_dataset={"name": "folder"})
    assert found.best["input_psnr"] is None
    write_record(found, tmp_path / "x.json")
    (table,) = (section.table for section in build_report([found]).sections if section.table)
    assert dict(zip(table.headings, table.rows[0], strict=True))["PSNR"] == "-"


def test_a_deepfake_that_does_nothing_cannot_be_tuned_against(
    dataset: FaceDataset, subject: Callable[..., Subject], tint: Callable[..., Any]
) -> None:
    def build(options: Mapping[str, str]) -> Subject:
        return subject(deepfake=tint(strength=0.0))

    with pytest.raises(DataError, match="moves none of these faces"):
        tune(build, {"steps": ["1"]}, dataset, about_dataset={"name": "folder"})

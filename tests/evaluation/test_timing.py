from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unmorph.datasets.base import FaceDataset
from unmorph.defenses import Defense
from unmorph.errors import DataError
from unmorph.evaluation import timing
from unmorph.evaluation.record import TimingRecord, read_record, write_record
from unmorph.evaluation.timing import is_timed, time_defenses


class Clock:
    """Time that only the defenses spend."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow(Defense):
    """Takes its time; the first call takes longer."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds
        self.labels: list[Tensor | None] = []

    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        self.clock.now += self.seconds * (1 if self.labels else 20)
        self.labels.append(labels)
        return faces


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands in for the real clock."""
    found = Clock()
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=found.perf_counter))
    return found


Run = Callable[..., TimingRecord]


@pytest.fixture
def run(dataset: FaceDataset) -> Run:
    def go(*methods: Defense, **options: Any) -> TimingRecord:
        named = [(method, {"name": f"slow-{i}"}) for i, method in enumerate(methods)]
        about: dict[str, Any] = {
            "about_dataset": {"name": "folder"},
            "about_deepfake": {"name": "tint", "edits": ["Male"]},
        }
        return time_defenses(named, dataset, size=16, **about, **options)

    return go


def test_each_method_is_timed_warm_on_every_face(
    run: Run, clock: Clock, dataset: FaceDataset
) -> None:
    fast, slow = Slow(clock, 0.5), Slow(clock, 2.0)
    record = run(fast, slow)
    assert [method.seconds.count for method in record.methods] == [7, 7]
    assert [method.seconds.mean for method in record.methods] == [0.5, 2.0]
    assert len(slow.labels) == 8
    assert dataset.labels is not None
    told = torch.cat([label for label in slow.labels[1:] if label is not None])
    assert torch.equal(told, torch.from_numpy(dataset.labels))
    assert record.dataset["count"] == 7


def test_a_budget_cuts_a_method_short_but_not_before_one_face(run: Run, clock: Clock) -> None:
    record = run(Slow(clock, 2.0), Slow(clock, 0.25), budget=3.0)
    assert [method.seconds.count for method in record.methods] == [2, 7]
    assert run(Slow(clock, 1.0), budget=0).methods[0].seconds.count == 1


def test_round_trip(run: Run, clock: Clock, tmp_path: Path) -> None:
    record = run(Slow(clock, 1.0))
    write_record(record, tmp_path / "x.json")
    assert read_record(tmp_path / "x.json") == record


def test_a_compiled_deepfake_is_another_run(
    run: Run, clock: Clock, dataset: FaceDataset, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    setting: dict[str, Any] = {
        "size": 16,
        "about_dataset": {"name": "folder"},
        "about_deepfake": {"name": "tint", "edits": ["Male"]},
    }
    methods = [(Slow(clock, 1.0), {"name": "slow-0"})]
    write_record(run(Slow(clock, 1.0)), path)
    assert is_timed(path, methods, dataset, **setting)
    assert not is_timed(path, methods, dataset, **setting, compiled=True)
    assert not is_timed(path, methods, dataset, **setting, device="cuda")
    record = run(Slow(clock, 1.0), compiled=True)
    assert record.machine["compiled"] is True
    write_record(record, path)
    assert is_timed(path, methods, dataset, **setting, compiled=True)
    assert not is_timed(path, methods, dataset, **setting)


def test_no_face(dataset: FaceDataset) -> None:
    with pytest.raises(DataError, match="no face to time"):
        time_defenses([], dataset.subset([]), size=16, about_dataset={}, about_deepfake={})

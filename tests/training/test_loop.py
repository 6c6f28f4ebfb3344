from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from typing import Any

import pytest
from torch import Tensor

from unmorph.training.loop import Stopped, learning_rate, run_steps
from unmorph.training.runlog import RunLog


class Counter:
    """A trainer that only counts, and asks for a stop during one of its updates."""

    def __init__(self, stop_at: int | None = None, number: int = signal.SIGTERM) -> None:
        self.step = 0
        self.seconds = 0.0
        self.log_state: Mapping[str, Any] = {}
        self.stop_at, self.number = stop_at, number
        self.reports: list[int] = []
        self.saves: list[int] = []

    def update(self) -> dict[str, Tensor | float]:
        if self.step + 1 == self.stop_at:
            os.kill(os.getpid(), self.number)
        return {"loss": float(self.step)}

    def report(self, log: RunLog) -> None:
        self.reports.append(self.step)

    def save(self) -> None:
        self.saves.append(self.step)


def test_reports_come_regularly_and_at_the_end(log: RunLog) -> None:
    trainer = Counter()
    run_steps(trainer, 7, "counting", 3, log)
    assert trainer.step == 7
    assert trainer.reports == [3, 6, 7]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_saves_after_the_step_and_goes_on_later(log: RunLog, number: int) -> None:
    before = signal.getsignal(number)
    trainer = Counter(stop_at=4, number=number)
    with pytest.raises(Stopped):
        run_steps(trainer, 9, "counting", 100, log)
    assert (trainer.step, trainer.saves) == (4, [4])
    assert signal.getsignal(number) is before
    run_steps(trainer, 9, "counting", 100, log)
    assert (trainer.step, trainer.reports) == (9, [9])


def test_checkpoints_come_with_time(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 25))  # read three times a step
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    trainer = Counter()
    run_steps(trainer, 6, "counting", 100, log)
    assert trainer.saves == [2, 4, 6]


def test_a_finished_run_does_nothing(log: RunLog) -> None:
    trainer = Counter()
    trainer.step = 5
    run_steps(trainer, 5, "counting", 1, log)
    assert (trainer.reports, trainer.saves) == ([], [])


def test_learning_rate() -> None:
    assert [learning_rate("constant", step, 1000) for step in (0, 49, 99, 100, 999)] == [
        0.01, 0.5, 1, 1, 1,
    ]  # fmt: skip
    linear = [learning_rate("linear", step, 1000) for step in (0, 100, 500, 750, 1000)]
    assert linear == pytest.approx([0.01, 1, 1, 0.5, 0])
    cosine = [learning_rate("cosine", step, 1000) for step in (250, 500, 1000)]
    assert cosine == pytest.approx([0.5 + math.sqrt(0.125), 0.5, 0])

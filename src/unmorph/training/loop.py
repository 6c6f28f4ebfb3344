"""The loop that every training run shares: progress, reports, checkpoints, a clean stop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, Protocol

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from unmorph.training.runlog import RunLog

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 120

#: How often the figures beside the progress bar are refreshed: a GPU waits for each refresh.
SHOWN_SECONDS = 0.5

#: Steps that ramp the learning rate up: Adam's first steps are all of full size.
WARM_UP = 100


class Trainer(Protocol):
    """What the loop needs of a trainer."""

    step: int
    seconds: float
    #: `RunLog.state` at the last checkpoint; empty before.
    log_state: Mapping[str, Any]

    def update(self) -> Mapping[str, Tensor | float]:
        """Run one step and return its figures."""

    def report(self, log: RunLog) -> None:
        """Measure on val and show it."""

    def save(self) -> None:
        """Write the checkpoint."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The run was asked to stop; its checkpoint is written."""


class StopSignals:
    """Turns Ctrl-C and a termination request into a stop between two steps."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def learning_rate(decay: str, step: int, steps: int) -> float:
    """Return the factor on the learning rate at ``step`` of ``steps``: warm-up, then the decay."""
    if step < WARM_UP:
        return (1 + step) / WARM_UP
    if decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / steps))
    if decay == "linear":
        return min(1.0, 2 * (1 - step / steps))
    return 1.0


def average_decay(ema: float, step: int) -> float:
    """Return how much a moving average of weights keeps of itself at ``step``.

    A young average follows the weights quickly, an old one smooths them.
    """
    return min(ema, (1 + step) / (10 + step))


def move_average(
    average: Mapping[str, Tensor], weights: Mapping[str, Tensor], ema: float, step: int
) -> None:
    """Move a network's averaged weights, in place, towards those that it has at ``step``."""
    floating = [name for name, value in weights.items() if value.is_floating_point()]
    get_ema_multi_avg_fn(average_decay(ema, step))(
        [average[name] for name in floating], [weights[name] for name in floating], step
    )
    for name in weights.keys() - floating:  # how many batches were seen
        average[name].copy_(weights[name])


def run_steps(trainer: Trainer, steps: int, title: str, report_every: int, log: RunLog) -> None:
    """Run ``trainer`` from its step to ``steps``.

    Raises:
        Stopped: Ctrl-C or a termination signal came; the checkpoint was written first.
    """
    log.restore(trainer.log_state)
    saved = shown = time.monotonic()
    with log.progress(title, trainer.step, steps) as bar, StopSignals() as stop:
        while trainer.step < steps:
            began = time.monotonic()
            log.add(trainer.update())
            trainer.step += 1
            trainer.seconds += time.monotonic() - began
            bar.update(bar.task_ids[0], advance=1)
            if began - shown > SHOWN_SECONDS:
                bar.update(bar.task_ids[0], figures=log.live())
                shown = began
            if trainer.step % report_every == 0 or trainer.step == steps:
                trainer.report(log)
            if stop.requested or time.monotonic() - saved > CHECKPOINT_SECONDS:
                trainer.log_state = log.state()
                trainer.save()
                saved = time.monotonic()
            if stop.requested:
                raise Stopped
    trainer.log_state = log.state()

"""A CelebA small enough to train on in a second, and runs that are stopped and resumed."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from unmorph.attributes import ATTRIBUTES
from unmorph.datasets.base import FaceDataset
from unmorph.datasets.celeba import load_celeba
from unmorph.training.loop import CHECKPOINT, Stopped
from unmorph.training.runlog import REPORTS, RunLog

TRAIN, VAL = 8, 4

#: What each label does to a photo: hair to the top, sex to the middle, age to the foot.
HAIR = ((30, 30, 40), (230, 210, 120), (120, 70, 40))


def draw(labels: tuple[int, ...], generator: np.random.Generator) -> Image.Image:
    """A photo of 178x218 that shows its labels, in a little noise."""
    pixels = np.full((218, 178, 3), 128, np.int64)
    pixels[:90] = HAIR[labels.index(1)]
    pixels[90:140] += 60 * (2 * labels[3] - 1)
    pixels[140:] += 60 * (2 * labels[4] - 1)
    pixels += generator.integers(-20, 21, (1, 1, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in CelebA's official layout: 8 photos to train on, 4 to validate."""
    folder = tmp_path_factory.mktemp("celeba")
    photos = folder / "img_align_celeba"
    photos.mkdir()
    generator = np.random.default_rng(0)
    attributes, partition = [str(TRAIN + VAL), " ".join(ATTRIBUTES)], []
    for index in range(TRAIN + VAL):
        labels = (*(int(index % 3 == hair) for hair in range(3)), index // 2 % 2, index % 2)
        name = f"{index + 1:06d}.jpg"
        draw(labels, generator).save(photos / name)
        attributes.append(f"{name} {' '.join(str(2 * label - 1) for label in labels)}")
        partition.append(f"{name} {int(index >= TRAIN)}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(attributes))
    (folder / "list_eval_partition.txt").write_text("\n".join(partition))
    return folder


@pytest.fixture(scope="session")
def train(celeba: Path) -> FaceDataset:
    return load_celeba(celeba, "train")


@pytest.fixture(scope="session")
def val(celeba: Path) -> FaceDataset:
    return load_celeba(celeba, "val")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where decoded faces go."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    """A log that shows nothing."""
    return RunLog(tmp_path / "log", Console(file=io.StringIO()))


class Run(Protocol):
    """What the three trainers have in common."""

    folder: Path

    def update(self) -> Mapping[str, Tensor | float]: ...

    def restore(self, path: Path) -> None: ...

    def run(self, log: RunLog) -> None: ...


@pytest.fixture
def final_state() -> Callable[..., dict[str, Any]]:
    """Return a function that runs a trainer to its end and returns its checkpoint and reports.

    Given ``stop_after``, a termination request comes during that update; another trainer goes on.
    """

    def finish(make: Callable[[], Run], stop_after: int | None = None) -> dict[str, Any]:
        run = make()
        log = RunLog(run.folder, Console(file=io.StringIO()))
        if stop_after is not None:
            update, updates = run.update, 0

            def interrupted() -> Mapping[str, Tensor | float]:
                nonlocal updates
                updates += 1
                if updates == stop_after:
                    os.kill(os.getpid(), signal.SIGTERM)
                return update()

            run.update = interrupted  # type: ignore[method-assign]
            with pytest.raises(Stopped):
                run.run(log)
            run = make()
            run.restore(run.folder / CHECKPOINT)
            log = RunLog(run.folder, Console(file=io.StringIO()))
        run.run(log)
        state: dict[str, Any] = torch.load(run.folder / CHECKPOINT, weights_only=True)
        assert state.pop("seconds") > 0
        assert state.pop("log")["sums"] == {}
        reports = [json.loads(line) for line in (run.folder / REPORTS).read_text().splitlines()]
        assert all(report.pop("minutes") >= 0 for report in reports)
        state["reports"] = [
            {name: figure for name, figure in report.items() if figure is not None}
            for report in reports
        ]
        return state

    return finish

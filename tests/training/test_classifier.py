from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, WeightsError
from unmorph.levels import to_faces
from unmorph.training.classifier import ClassifierTrainer, add_noise, jitter
from unmorph.training.config import ClassifierConfig
from unmorph.training.loop import CHECKPOINT
from unmorph.training.runlog import RunLog

TINY = ClassifierConfig(steps=4, width=2, batch_size=2, report_every=2)

Make = Callable[..., ClassifierTrainer]


@pytest.fixture
def make(train: FaceDataset, val: FaceDataset, cache: Path, tmp_path: Path) -> Make:
    def build(config: ClassifierConfig = TINY, folder: str = "run") -> ClassifierTrainer:
        return ClassifierTrainer(config, train, val, tmp_path / folder, cache)

    return build


@pytest.mark.parametrize("stop_after", [2, 3])
@pytest.mark.parametrize("config", [TINY, dataclasses.replace(TINY, noise=0.3)])
def test_a_resumed_run_ends_as_if_never_stopped(
    make: Make,
    final_state: Callable[..., dict[str, Any]],
    config: ClassifierConfig,
    stop_after: int,
) -> None:
    whole = final_state(lambda: make(config, "whole"))
    resumed = final_state(lambda: make(config, "resumed"), stop_after)
    assert whole.pop("config") == resumed.pop("config") == dataclasses.asdict(config)
    assert whole.pop("photos") == resumed.pop("photos")
    assert whole["step"] == 4
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_training_learns_the_labels(make: Make, log: RunLog) -> None:
    config = ClassifierConfig(
        steps=60, width=4, batch_size=8, learning_rate=2e-2, jitter=0.02, report_every=60
    )
    run = make(config)
    run.run(log)
    run.classifier.eval()
    with torch.no_grad():
        seen = run.classifier(torch.from_numpy(to_faces(run.batches.photos))) > 0
    assert (seen == (run.batches.labels > 0)).float().mean() > 0.9


def test_another_configuration_is_refused(make: Make) -> None:
    run = make()
    run.save()
    path = run.folder / CHECKPOINT
    make(dataclasses.replace(TINY, report_every=7)).restore(path)
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: .*\(width\)"):
        make(dataclasses.replace(TINY, width=4)).restore(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: not a readable checkpoint"):
        run.restore(path)


def test_jitter() -> None:
    faces = torch.rand(4, 3, 16, 16) * 2 - 1
    still = jitter(faces, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, faces, rtol=0, atol=1e-5)
    moved = jitter(faces, 0.2, torch.Generator().manual_seed(0))
    again = jitter(faces, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(moved, again)
    assert moved.abs().max() <= 1
    assert (moved - faces).abs().mean(dim=(1, 2, 3)).min() > 0.05


def test_an_unlabelled_set_is_refused(train: FaceDataset, cache: Path, tmp_path: Path) -> None:
    bare = dataclasses.replace(train, labels=None)
    with pytest.raises(ConfigError, match="faces with labels"):
        ClassifierTrainer(TINY, bare, train, tmp_path, cache)


def test_noise_is_of_each_faces_own_strength() -> None:
    faces = torch.zeros(64, 3, 32, 32)
    noisy = add_noise(faces, 0.5, torch.Generator().manual_seed(0))
    strengths = noisy.flatten(1).std(dim=1)
    assert 0 <= strengths.min() < 0.05
    assert 0.45 < strengths.max() < 0.52
    assert torch.equal(add_noise(faces, 0.0, torch.Generator()), faces)

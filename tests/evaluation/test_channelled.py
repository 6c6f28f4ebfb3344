"""Runs whose faces go through a channel, or whose edits are applied again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unmorph import channels
from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.channels.batches import own_seeds, send
from unmorph.channels.differentiable import DifferentiableChannel
from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError
from unmorph.evaluation.record import Record
from unmorph.evaluation.repeated import Repeated, repeat_edits
from unmorph.evaluation.run import Subject, evaluate
from unmorph.export import example_faces
from unmorph.levels import to_faces, to_photos

Build = Callable[..., Subject]


def run(subject: Subject, dataset: FaceDataset, **options: object) -> Record:
    chosen = {"metric_names": ("l2", "psnr"), "batch_size": 3, **options}
    return evaluate(subject, dataset, about_dataset={"name": "folder"}, **chosen)  # type: ignore[arg-type]


def test_both_faces_go_through_the_channel(
    dataset: FaceDataset,
    subject: Build,
    tint: Callable[[], Repeated],
    mark: Callable[[Tensor], Tensor],
) -> None:
    noise = channels.load("noise-5")
    record = run(subject(), dataset, channel=noise, seed=11)
    assert record.settings["channel"] == "noise-5"
    assert record.settings["own_draws"]
    assert dataset.labels is not None
    faces = torch.from_numpy(to_faces(np.stack(list(dataset.faces(dataset.crop)))))
    sent = partial(send, noise, seeds=own_seeds(11, range(7)))
    targets = edit_targets(torch.from_numpy(dataset.labels), "Male")
    for comparison, arrived in (("unprotected", sent(faces)), ("output", sent(mark(faces)))):
        moved = (tint().edit(arrived, targets) - arrived).square().mean().item()
        found = record.figures[comparison]["l2"].edits["Male"].mean
        assert found == pytest.approx(moved, rel=1e-4)
    plain = run(subject(), dataset)
    assert record.figures["input"] == plain.figures["input"]
    assert plain.settings["channel"] == "none"
    assert "own_draws" not in plain.settings


@pytest.mark.parametrize("name", ["jitter", "noise-5"])
def test_no_face_meets_what_an_attack_drew(name: str) -> None:
    face = example_faces(1)
    attack = DifferentiableChannel(name)
    seen = {to_photos(attack(face, [turn]).numpy()).tobytes() for turn in range(40)}
    channel = channels.load(name)
    drawn = {channel(to_photos(face[0].numpy()), turn).tobytes() for turn in range(40)}
    for seed in range(4):
        met = send(channel, face.repeat(10, 1, 1, 1), own_seeds(seed, range(10)))
        own = {to_photos(one.numpy()).tobytes() for one in met}
        assert len(own) == 10
        assert not own & (seen | drawn)


def test_a_channel_that_washes_the_mark_out(dataset: FaceDataset, subject: Build) -> None:
    assert run(subject(), dataset).mean("suppression", "strict_dsr") == 1
    rounded = run(subject(), dataset, channel=channels.load("round"))
    assert rounded.mean("suppression", "strict_dsr") == 1
    blurred = run(subject(), dataset, channel=channels.load("blur-2"))
    assert blurred.mean("suppression", "strict_dsr") == 0


def test_batch_size_changes_no_noise(dataset: FaceDataset, subject: Build) -> None:
    noise = channels.load("noise-5")
    one, other = (run(subject(), dataset, channel=noise, batch_size=size) for size in (2, 7))
    found, expected = one.mean("output", "l2"), other.mean("output", "l2")
    assert found == pytest.approx(expected, rel=1e-6)


def test_progress_of_another_channel_is_refused(
    dataset: FaceDataset, subject: Build, tmp_path: Path
) -> None:
    path = tmp_path / "x.json.progress.npz"
    run(subject(), dataset, progress_file=path)
    with pytest.raises(ConfigError, match="other options"):
        run(subject(), dataset, progress_file=path, channel=channels.load("round"))


def test_edit_applied_twice(
    dataset: FaceDataset, subject: Build, tint: Callable[[], Repeated]
) -> None:
    once, twice = subject(), repeat_edits(subject(), 2)
    faces = torch.zeros(2, 3, 16, 16)
    targets = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 1]])
    expected = tint().edit(tint().edit(faces, targets), targets)
    torch.testing.assert_close(twice.deepfake.edit(faces, targets), expected)
    assert twice.deepfake.edits == ATTRIBUTES
    record = run(twice, dataset)
    assert record.deepfake["applied"] == 2
    assert "applied" not in once.about["deepfake"]
    assert repeat_edits(once, 1) is once
    single = run(once, dataset).mean("unprotected", "l2")
    assert single is not None
    # `Tint` adds a constant: twice as far, four times as much squared.
    assert record.mean("unprotected", "l2") == pytest.approx(4 * single, rel=1e-4)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        repeat_edits(once, 0)

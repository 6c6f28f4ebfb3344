from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unmorph.deepfakes.stargan import Generator
from unmorph.training import lessons
from unmorph.training.lessons import EDITS, Lessons, lesson, taught

AMPLIFY = (1.0, 2.0, 1.0, 1.5, 1.0)


def careless(faces: Tensor, targets: Tensor) -> Tensor:
    """A teacher that makes what it copies darker, and brightens it by what is asked for."""
    asked = (targets * torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])).sum(1)
    return faces - 0.2 + asked[:, None, None, None]


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "teacher.pt"
    torch.save(Generator(conv_dim=4, repeat_num=1).state_dict(), path)
    return path


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)


LABELS = np.array([[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]] * 3, np.float32)


def test_a_lesson_is_what_an_edit_changes() -> None:
    faces = torch.zeros(2, 3, 8, 8)
    labels = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 1, 1, 0]])
    edits = torch.tensor([[1, 3], [0, 3]])  # blond and sex; black and sex
    targets, wanted = lesson(careless, faces, labels, edits, torch.tensor(AMPLIFY))
    assert targets.tolist() == [
        [[0, 1, 0, 0, 0], [1, 0, 0, 1, 0]],
        [[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]],
    ]
    expected = torch.tensor([[2 * 0.1, 1.5 * 0.4], [-0.2, -1.5 * 0.4]])
    torch.testing.assert_close(wanted[..., 0, 0, 0], expected)
    bright = lesson(careless, faces + 0.9, labels, edits, torch.tensor(AMPLIFY))[1]
    assert bright.max() == 1


def test_lessons_are_made_once(teacher: Path, photos: np.ndarray, tmp_path: Path) -> None:
    done: list[int] = []
    first = taught(teacher, photos, LABELS, AMPLIFY, "fp32", tmp_path / "cache", done.append)
    assert sum(done) == len(photos)
    again = taught(teacher, photos, LABELS, AMPLIFY, "fp32", tmp_path / "cache", done.append)
    assert sum(done) == len(photos)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert first[1].shape == (6, EDITS, 128, 128, 3)
    louder = taught(teacher, photos, LABELS, (3.0,) * 5, "fp32", tmp_path / "cache", done.append)
    assert sum(done) == 2 * len(photos)
    assert (louder[1] != first[1]).any()
    changed = taught(teacher, photos, 1 - LABELS, AMPLIFY, "fp32", tmp_path / "cache", done.append)
    assert sum(done) == 3 * len(photos)
    assert (changed[0] != first[0]).any()


def test_batches_of_lessons(teacher: Path, photos: np.ndarray, tmp_path: Path) -> None:
    given = Lessons(teacher, photos, LABELS, AMPLIFY, "fp32", tmp_path / "cache")
    faces, own_labels, targets, wanted = given.next(16, 64, torch.Generator().manual_seed(0))
    assert faces.shape == wanted.shape == (16, 3, 64, 64)
    assert torch.equal(wanted[:4], faces[:4])  # a quarter is to stay as it is
    labels = {tuple(row) for row in LABELS.tolist()}
    own = torch.tensor([tuple(row) in labels for row in targets.tolist()])
    assert own[:4].all()
    assert not own.all()
    # Brown hair asked of brown hair changes nothing either.
    assert torch.equal((wanted != faces).flatten(1).any(1), ~own)
    assert torch.equal(targets[:4], own_labels[:4])
    assert {tuple(row) for row in own_labels.tolist()} <= labels
    same = given.next(16, 64, torch.Generator().manual_seed(0))
    for one, other in zip(same, (faces, own_labels, targets, wanted), strict=True):
        assert torch.equal(one, other)
    assert lessons.SIZE == 128

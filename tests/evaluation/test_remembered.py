from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unmorph.errors import DataError
from unmorph.evaluation.remembered import remember_faces
from unmorph.evaluation.run import Subject

FACES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.eye(5)[:3]


class Counted:
    """A defense that darkens a face by what its labels say, and counts faces."""

    def __init__(self) -> None:
        self.faces = 0

    def __call__(self, faces: Tensor, labels: Tensor | None) -> Tensor:
        self.faces += len(faces)
        shade = 0.01 if labels is None else 0.01 * labels @ torch.arange(1.0, 6.0)[:, None]
        return faces - torch.as_tensor(shade).reshape(-1, 1, 1, 1)


def test_each_face_is_protected_once(subject: Callable[..., Subject], tmp_path: Path) -> None:
    defense = Counted()
    first = remember_faces(subject(defense), tmp_path / "faces", seed=0)
    expected = Counted()(FACES, LABELS)
    assert torch.equal(first.defense(FACES[:2], LABELS[:2]), expected[:2])
    again = remember_faces(subject(defense), tmp_path / "faces", seed=0)
    assert torch.equal(again.defense(FACES, LABELS), expected)
    assert defense.faces == 3


def test_whatever_the_result_depends_on_tells_files_apart(
    subject: Callable[..., Subject], tmp_path: Path
) -> None:
    defense = Counted()
    one = remember_faces(subject(defense), tmp_path, seed=0)
    one.defense(FACES[:1], LABELS[:1])
    one.defense(FACES[:1], LABELS[1:2])
    one.defense(FACES[:1], None)
    remember_faces(subject(defense), tmp_path, seed=1).defense(FACES[:1], LABELS[:1])
    other = subject(defense)
    other.about["defense"]["steps"] = 5
    remember_faces(other, tmp_path, seed=0).defense(FACES[:1], LABELS[:1])
    assert defense.faces == len(list(tmp_path.iterdir())) == 5


def test_a_damaged_file_is_named(subject: Callable[..., Subject], tmp_path: Path) -> None:
    kept = remember_faces(subject(Counted()), tmp_path, seed=0)
    kept.defense(FACES[:1], None)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match=rf"{file.name}: damaged; remove it"):
        kept.defense(FACES[:1], None)

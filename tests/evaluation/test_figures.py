from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unmorph import channels
from unmorph.channels.batches import send
from unmorph.errors import ConfigError
from unmorph.evaluation.figures import (
    _CELL,
    _GAP,
    _LINE,
    draw_differences,
    draw_edits,
    draw_failures,
)

LABELS = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 1]])


@pytest.fixture
def faces() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5


def cell(picture: Image.Image, row: int, column: int, columns: int) -> np.ndarray[Any, Any]:
    """Return one picture of a sheet, back at its own size (16, 16, 3)."""
    side = picture.width - columns * (_CELL + _GAP)
    left, top = side + column * (_CELL + _GAP), _LINE + row * (_CELL + _GAP)
    square = picture.crop((left, top, left + _CELL, top + _CELL))
    return np.asarray(square.resize((16, 16), Image.Resampling.NEAREST))


def levels(face: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = ((face.permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
    rounded: np.ndarray[Any, Any] = np.rint(array)
    return rounded


def test_edits_without_and_with_the_defense(
    faces: Tensor, tint: Callable[[], Any], mark: Callable[..., Tensor]
) -> None:
    deepfake = tint()
    picture = draw_edits(deepfake, mark, faces, LABELS)
    protected = mark(faces)
    for index in range(2):
        for row, batch in ((2 * index, faces), (2 * index + 1, protected)):
            assert np.array_equal(cell(picture, row, 0, 6), levels(batch[index]))
            for column, edit in enumerate(deepfake.edits, start=1):
                edited = deepfake.edit(batch, deepfake.targets(edit, LABELS))[index]
                assert np.array_equal(cell(picture, row, column, 6), levels(edited))


def test_differences_of_each_defense(faces: Tensor, tint: Callable[[], Any]) -> None:
    def nothing(batch: Tensor, labels: Tensor) -> Tensor:
        return batch

    def flat(batch: Tensor, labels: Tensor) -> Tensor:
        return torch.zeros_like(batch)

    picture = draw_differences(tint(), {"nothing": nothing, "flat": flat}, faces, LABELS, "Male")
    shift = tint().edit(faces, tint().targets("Male", LABELS)) - faces
    for index in range(2):
        row = 2 * index
        expected = levels(10 * shift[index].abs() - 1)
        assert np.array_equal(cell(picture, row, 2, 6), expected)
        assert np.array_equal(cell(picture, row + 1, 0, 6), levels(torch.zeros(3, 16, 16)))
        # An even shift leaves the texture of a flat face alone.
        assert not cell(picture, row + 1, 5, 6).any()
        codes = [cell(picture, row, column, 6).astype(int) for column in (3, 4, 5)]
        assert np.array_equal(np.abs(codes[0] - codes[1]), codes[2])
        assert codes[0].std() > 0


def test_an_unknown_edit_is_told_before_any_face_is_protected(
    faces: Tensor, tint: Callable[[], Any]
) -> None:
    def never(batch: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError("minutes of work for nothing")

    with pytest.raises(ConfigError, match="unknown edit '50\\+'; choose one of Black_Hair"):
        draw_differences(tint(), {"never": never}, faces, LABELS, "50+")


def test_failures_are_what_is_stopped_least(
    faces: Tensor, tint: Callable[[], Any], mark: Callable[..., Tensor]
) -> None:
    def mark_the_first(batch: Tensor, labels: Tensor) -> Tensor:
        return torch.cat([mark(batch[:1]), batch[1:]])

    deepfake, rounded = tint(), channels.load("round")
    ways = {"none": None, "round": rounded}
    picture = draw_failures(deepfake, mark_the_first, faces, LABELS, ways, 2)
    assert picture.height == _LINE + 2 * 2 * (_CELL + _GAP)
    arrived = send(rounded, faces, [0, 1])
    targets = [deepfake.targets(edit, LABELS) for edit in deepfake.edits]
    for row, batch in ((0, faces), (1, faces), (2, arrived), (3, arrived)):
        # The second face alone is not protected.
        assert np.array_equal(cell(picture, row, 0, 4), levels(batch[1]))
        assert np.array_equal(cell(picture, row, 2, 4), levels(batch[1]))
        edited = [levels(deepfake.edit(batch, target)[1]) for target in targets]
        assert any(np.array_equal(cell(picture, row, 1, 4), one) for one in edited)
        assert np.array_equal(cell(picture, row, 1, 4), cell(picture, row, 3, 4))


def test_failures_of_faces_that_nothing_moves(faces: Tensor, mark: Callable[..., Tensor]) -> None:
    class Idle:
        edits = ("Male",)
        size = 16

        def targets(self, edit: str, labels: Tensor, /) -> Tensor:
            return labels

        def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
            return faces

    with pytest.raises(ConfigError, match="no edit moves these faces far enough"):
        draw_failures(Idle(), mark, faces, LABELS, {"none": None}, 3)

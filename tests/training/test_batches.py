from __future__ import annotations

import numpy as np
import pytest
import torch

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.training.batches import Batches, random_edits, recolour


def photos(count: int = 10) -> np.ndarray:
    """Photos that carry their number in every pixel, but for a bright left edge."""
    array = np.repeat(np.arange(count, dtype=np.uint8), 3 * 4 * 4).reshape(count, 4, 4, 3)
    array[:, :, 0] = 255
    return array


def batches(batch_size: int, seed: int = 0) -> Batches:
    labels = np.zeros((10, 5), np.float32)
    labels[:, 4] = np.arange(10) % 2
    return Batches(photos(), labels, batch_size, torch.Generator().manual_seed(seed))


def numbers(faces: torch.Tensor) -> list[int]:
    return ((faces[:, 0, 0, 1] + 1) * 127.5).round().int().tolist()


def test_an_epoch_shows_each_photo_once_with_its_labels() -> None:
    source = batches(5)
    for _ in range(3):
        seen = []
        for _ in range(2):
            faces, labels = source.next()
            assert faces.shape == (5, 3, 4, 4)
            assert labels[:, 4].tolist() == [number % 2 for number in numbers(faces)]
            seen += numbers(faces)
        assert sorted(seen) == list(range(10))
        assert seen != list(range(10))


def test_the_remainder_of_an_epoch_is_dropped() -> None:
    source = batches(4)
    epochs = [[n for _ in range(2) for n in numbers(source.next()[0])] for _ in range(4)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)


def test_half_of_the_faces_are_mirrored() -> None:
    source = batches(10)
    left = right = 0
    for _ in range(40):
        faces, _ = source.next()
        left += int((faces[:, 0, 0, 0] == 1).sum())
        right += int((faces[:, 0, 0, 3] == 1).sum())
    assert left + right == 400
    assert 150 < left < 250


def test_a_restored_sequence_goes_on() -> None:
    source = batches(3)
    source.next()
    state, random = source.state(), source.generator.get_state()
    expected = [source.next() for _ in range(5)]
    other = batches(3, seed=9)
    other.restore(state)
    other.generator.set_state(random)
    torch.testing.assert_close([other.next() for _ in range(5)], expected, rtol=0, atol=0)


@pytest.mark.parametrize("shares", [None, [1.0, 4.0, 1.0, 1.0, 1.0]])
def test_random_edits_are_one_edit_each(shares: list[float] | None) -> None:
    labels = torch.tensor([[1.0, 0, 0, 1, 0]]).repeat(500, 1)
    choices = [edit_targets(labels, edit) for edit in ATTRIBUTES]
    targets = random_edits(choices, torch.Generator().manual_seed(0), shares)
    drawn = sum(
        (targets == edit_targets(labels[:1], edit)).all(1).long() * (1 + position)
        for position, edit in enumerate(ATTRIBUTES)
    )
    counts = torch.bincount(torch.as_tensor(drawn), minlength=1 + len(ATTRIBUTES))
    assert counts[0] == 0
    if shares is None:
        assert counts[1:].min() > 60
    else:
        assert counts[2] > 200
        assert counts[1:].min() > 40


def test_recolouring_changes_contrast_and_tint_only() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = torch.rand(64, 3, 8, 8, generator=generator) - 0.5
    changed = recolour(faces, 0.2, generator)
    contrast = (changed[..., 0] - changed[..., 1]) / (faces[..., 0] - faces[..., 1])
    per_face = contrast.flatten(1).median(1).values
    spread = contrast - per_face[:, None, None]
    assert spread.abs().max() < 1e-3
    assert 0.8 <= per_face.min() < 0.85
    assert 1.15 < per_face.max() <= 1.2
    tint = (changed - faces * per_face[:, None, None, None]).mean((2, 3))
    assert -0.1 <= tint.min() < -0.08
    assert 0.08 < tint.max() <= 0.1
    assert recolour(faces * 2, 0.5, generator).abs().max() == 1

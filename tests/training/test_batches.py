from __future__ import annotations

import numpy as np
import torch

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.training.batches import Batches, random_single_edits


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


def test_random_single_edits_are_one_edit_each() -> None:
    labels = torch.tensor([[1.0, 0, 0, 1, 0]]).repeat(500, 1)
    targets = random_single_edits(labels, torch.Generator().manual_seed(0))
    one = labels[:1]
    counts = [int((targets == edit_targets(one, e)).all(1).sum()) for e in ATTRIBUTES]
    assert sum(counts) == 500
    assert min(counts) > 60

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmorph import channels
from unmorph.channels.batches import send


def test_faces_arrive_as_the_photos_would() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    faces = torch.from_numpy(photos).permute(0, 3, 1, 2) / 127.5 - 1
    noise = channels.load("noise-5")
    arrived = send(noise, faces, [3, 4])
    for index, seed in enumerate((3, 4)):
        expected = torch.from_numpy(noise(photos[index], seed)).permute(2, 0, 1)
        torch.testing.assert_close((arrived[index] + 1) * 127.5, expected.float())


def test_faces_are_rounded_to_bytes_and_not_changed() -> None:
    faces = torch.tensor([0.0021, -1.2, 1.2]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    arrived = send(channels.load("round"), faces, [0])
    levels = ((arrived[0, :, 0, 0] + 1) * 127.5).tolist()
    assert levels == pytest.approx([128, 0, 255], abs=1e-4)
    assert faces[0, 0, 0, 0] == torch.tensor(0.0021)


def test_other_sizes_are_cropped_back() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    arrived = send(channels.load("screenshot"), ramp, [0])
    assert arrived.shape == ramp.shape
    assert (arrived - ramp).abs().mean() < 0.01

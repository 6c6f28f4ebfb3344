from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import features
from torch import Tensor

from unmorph import channels, metrics
from unmorph.channels.batches import send
from unmorph.channels.differentiable import (
    STEPS,
    DifferentiableChannel,
    RandomChannels,
    to_levels,
)
from unmorph.errors import ConfigError

#: How close the form for training comes to the real channel, in dB; measured 45.1 at least.
CLOSE = 44.0

MIXTURE = {"jpeg-75": 2.0, "blur-1": 1.0, "jitter": 3.0, "messenger>jitter": 2.0}

ALL = (*channels.STANDARD, *channels.CROPS, *channels.ANSWERS)


@pytest.fixture(scope="module")
def faces(portrait: NDArray[np.uint8]) -> Tensor:
    """Two crops of one face (2, 3, 128, 128)."""
    crops = np.stack([portrait[100:228, 180:308], portrait[90:218, 190:318]])
    return torch.from_numpy(crops).permute(0, 3, 1, 2) / 127.5 - 1


def needs_codec(name: str) -> None:
    if "avif" in name and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


def test_every_kind_has_a_form_for_training() -> None:
    assert STEPS.names() == channels.names()


@pytest.mark.parametrize("name", ALL)
def test_close_to_the_real_channel(name: str, faces: Tensor) -> None:
    needs_codec(name)
    arrived = DifferentiableChannel(name)(faces, [7, 8])
    assert metrics.psnr(arrived, send(channels.load(name), faces, [7, 8])).min() > CLOSE


@pytest.mark.parametrize("name", ALL)
def test_gradient_reaches_the_faces(name: str, faces: Tensor) -> None:
    needs_codec(name)
    start = faces.clone().requires_grad_()
    arrived = DifferentiableChannel(name)(start, [1, 2])
    assert arrived.shape == faces.shape
    assert arrived.abs().max() <= 1
    (gradient,) = torch.autograd.grad(arrived.square().sum(), start)
    assert gradient.isfinite().all()
    # A median passes it to one pixel of nine at a time, and a crop shifted by 8 of 128 leaves
    # an eighth of them out; all others pass it to nearly every pixel.
    least = {"median-3": 0.5, "shift+8": 0.85}.get(name, 0.9)
    assert (gradient != 0).float().mean() > least


@pytest.mark.parametrize("name", ["jpeg-75", "resize-50", "blur-1", "jitter"])
def test_gradient_points_uphill(name: str, faces: Tensor) -> None:
    channel = DifferentiableChannel(name)
    goal = faces.flip(3)
    start = (faces * 0.8).requires_grad_()
    before = metrics.l2(channel(start, [1, 2]), goal).sum()
    (gradient,) = torch.autograd.grad(before, start)
    after = metrics.l2(channel(start - 0.05 * gradient.sign(), [1, 2]), goal).sum()
    assert after < 0.95 * before


@pytest.mark.parametrize("size", [128, 100])
def test_jpeg_of_any_size(size: int, faces: Tensor) -> None:
    small = to_levels(faces[..., :size, : size - 3])
    arrived = DifferentiableChannel("jpeg-75")(small, [0, 0])
    assert metrics.psnr(arrived, send(channels.load("jpeg-75"), small, [0, 0])).min() > CLOSE


def test_to_levels_rounds_to_bytes() -> None:
    values = torch.tensor([-1.2, -1.0, 0.0021, 1.0, 1.3], requires_grad=True)
    rounded = to_levels(values)
    assert ((rounded + 1) * 127.5).tolist() == pytest.approx([0, 0, 128, 255, 255], abs=1e-4)
    rounded.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


def test_seeds_belong_to_faces(faces: Tensor) -> None:
    channel = DifferentiableChannel("noise-5>jitter")
    both = channel(faces, [3, 4])
    torch.testing.assert_close(both[1:], channel(faces[1:], [4]))
    assert (both[1:] - channel(faces[1:], [5])).abs().max() > 0.1


def test_bfloat16_faces_are_computed_in_float32(faces: Tensor) -> None:
    channel = DifferentiableChannel("jpeg-75")
    half = faces.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        arrived = channel(half, [0, 0])
    assert arrived.dtype == torch.bfloat16
    torch.testing.assert_close(arrived, channel(half.float(), [0, 0]).bfloat16())


def test_passage_does_the_same_to_every_batch(faces: Tensor) -> None:
    drawn = RandomChannels(MIXTURE, torch.Generator().manual_seed(0))
    batch = faces[:1].expand(8, -1, -1, -1)
    passage = drawn.draw(8)
    torch.testing.assert_close(passage(batch), passage(batch))
    again = RandomChannels(MIXTURE, torch.Generator().manual_seed(0))
    torch.testing.assert_close(passage(batch), again(batch))
    assert not torch.equal(passage(batch), drawn(batch))
    joined = torch.cat([batch, -batch])
    torch.testing.assert_close(passage(joined), torch.cat([passage(batch), passage(-batch)]))


def test_each_face_gets_its_own_channel_in_its_place(faces: Tensor) -> None:
    weights = {"brightness+50": 1.0, "brightness-50": 1.0}
    drawn = RandomChannels(weights, torch.Generator().manual_seed(1))
    batch = faces[:1].expand(32, -1, -1, -1)
    passage = drawn.draw(32)
    brighter = passage(batch).mean((1, 2, 3)) > faces[0].mean()
    assert 8 < brighter.sum() < 24
    # The order of the faces is kept: one of other brightness stands out where it was put.
    batch = batch.clone()
    batch[5] = -1
    assert passage(batch).mean((1, 2, 3)).argmin() == 5


def test_weights_say_how_often(faces: Tensor) -> None:
    weights = {"round": 3.0, "brightness-50": 1.0}
    drawn = RandomChannels(weights, torch.Generator().manual_seed(0))
    corner = faces[:1, :, :8, :8]
    changed = sum(not torch.equal(drawn(corner), to_levels(corner)) for _ in range(200))
    assert 30 <= changed <= 70


def test_unknown_channel(faces: Tensor) -> None:
    with pytest.raises(ConfigError, match="unknown channel 'magic'"):
        RandomChannels({"magic": 1.0}, torch.Generator())


def test_jitter_of_a_pair_is_one(faces: Tensor) -> None:
    jitter = DifferentiableChannel("jitter")
    shift = 4 / 127.5
    shifted = jitter(faces + shift, [1, 2]) - jitter(faces, [1, 2])
    assert shifted.mean().item() == pytest.approx(shift, rel=0.05)

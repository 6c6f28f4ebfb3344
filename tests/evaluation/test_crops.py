from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unmorph.channels.codecs import Jitter
from unmorph.errors import ConfigError
from unmorph.evaluation.crops import CROPS, Crop
from unmorph.faces.crop import Square, crop_square, frame
from unmorph.faces.detect import Face, FaceDetector

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def found(portrait: Pixels) -> Face:
    return FaceDetector(threads=1).detect(portrait)[0]


@pytest.mark.parametrize("name", CROPS.names())
def test_crop_shows_the_face_but_not_as_the_defense_framed_it(
    name: str, portrait: Pixels, found: Face
) -> None:
    ours = crop_square(portrait, frame(found.landmarks))
    theirs = CROPS[name](found, np.random.default_rng(0))(portrait)
    assert theirs.shape == ours.shape
    assert theirs.dtype == np.float32
    assert np.abs(theirs).max() <= 1
    if name == "landmarks":
        np.testing.assert_array_equal(theirs, ours)
    else:
        assert np.corrcoef(theirs.ravel(), ours.ravel())[0, 1] > 0.5
        assert np.abs(theirs - ours).mean() > 0.01


def test_box_frames_like_the_paper(found: Face) -> None:
    ours, theirs = frame(found.landmarks), CROPS["box"](found, np.random.default_rng(0)).square
    assert theirs.size == pytest.approx(ours.size, rel=0.15)
    assert theirs.left + theirs.size / 2 == pytest.approx(ours.left + ours.size / 2, abs=20)
    assert theirs.top + theirs.size / 2 == pytest.approx(ours.top + ours.size / 2, abs=20)


def test_jitter_differs_from_face_to_face_and_repeats(portrait: Pixels, found: Face) -> None:
    one, same, other = (
        CROPS["jitter"](found, np.random.default_rng(seed))(portrait) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 0.01


def test_jitter_that_strays_nowhere(portrait: Pixels) -> None:
    square = Square(150, 100, 200)
    still = Jitter(np.eye(2, 3), bicubic=False)
    plain, jittered = Crop(square)(portrait), Crop(square, jitter=still)(portrait)
    assert np.abs(plain - jittered).mean() < 0.01


def test_crop_beyond_the_border(portrait: Pixels) -> None:
    square = Square(-60, -60, 200)
    for crop in (
        Crop(square, Image.Resampling.BICUBIC),
        Crop(square, jitter=Jitter(np.eye(2, 3), bicubic=True)),
    ):
        assert crop(portrait).shape == (3, 128, 128)
    with pytest.raises(ValueError, match="outside a photo of 512 x 512"):
        Crop(Square(600, 0, 50))(portrait)


def test_unknown_crop() -> None:
    with pytest.raises(ConfigError, match="'magic'; choose one of box, jitter, landmarks"):
        CROPS["magic"]

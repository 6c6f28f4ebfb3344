from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import features

from unmorph import channels
from unmorph.channels import codecs
from unmorph.errors import ConfigError

Pixels = NDArray[np.uint8]

ALL = (*channels.STANDARD, *channels.CROPS, *channels.ANSWERS)


def psnr(first: Pixels, second: Pixels) -> float:
    error = float(np.square(first.astype(float) - second).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


@pytest.fixture(scope="module")
def face(portrait: Pixels) -> Pixels:
    return np.ascontiguousarray(portrait[100:228, 180:308])


def test_lists_cover_the_registry() -> None:
    assert {kind for name in ALL for kind, _ in codecs.parse(name)} == set(channels.names())


@pytest.mark.parametrize("name", ALL)
def test_channel_changes_a_photo_but_keeps_what_it_shows(name: str, face: Pixels) -> None:
    if "avif" in name and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    before = bytes(face)
    arrived = channels.load(name)(face, seed=1)
    assert bytes(face) == before
    assert arrived.dtype == np.uint8
    assert arrived.flags.writeable
    np.testing.assert_array_equal(arrived, channels.load(name)(face, seed=1))
    if name == "screenshot":
        assert arrived.shape == (160, 160, 3)
        return
    assert arrived.shape == face.shape
    if name == "round":
        np.testing.assert_array_equal(arrived, face)
    else:
        assert 10 < psnr(face, arrived) < 60


@pytest.mark.parametrize(
    ("gentle", "harsh"),
    [
        ("jpeg-95", "jpeg-30"),
        ("webp-90", "webp-10"),
        ("resize-75", "resize-25"),
        ("blur-1", "blur-3"),
        ("noise-2", "noise-5"),
        ("brightness+10", "brightness+20"),
        ("brightness-10", "brightness-20"),
        ("contrast-10", "contrast+30"),
        ("gamma-0.9", "gamma-2"),
        ("median-3", "median-7"),
        ("bilateral-10", "bilateral-100"),
        ("bits-6", "bits-2"),
        ("messenger", "messenger>blur-2"),
    ],
)
def test_numbers_mean_what_they_say(gentle: str, harsh: str, face: Pixels) -> None:
    assert psnr(face, channels.load(gentle)(face)) > psnr(face, channels.load(harsh)(face)) + 1


def test_crops_move_what_a_face_shows() -> None:
    moving = {name for name in ALL if "avif" not in name and channels.load(name).moves}
    assert moving == {"jitter", *channels.CROPS}
    assert channels.load("jpeg-75>shift+3").moves
    kinds = {kind for name in moving for kind, _ in codecs.parse(name)}
    assert set(channels.still_names()) == set(channels.names()) - kinds


def test_sign(face: Pixels) -> None:
    assert channels.load("brightness+10")(face).mean() == pytest.approx(face.mean() * 1.1, rel=0.02)
    assert channels.load("brightness-10")(face).mean() == pytest.approx(face.mean() * 0.9, rel=0.02)
    assert channels.load("gamma-0.8")(face).mean() > face.mean()


def test_noise_has_its_size_and_its_seed() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = channels.load("noise-5")(grey, seed=3)
    assert (noisy.astype(float) - grey).std() == pytest.approx(5, rel=0.05)
    assert (channels.load("noise-5")(grey, seed=4) != noisy).any()


def test_messenger_and_screenshot_shrink_large_photos() -> None:
    photo = np.zeros((1000, 2000, 3), np.uint8)
    assert channels.load("messenger")(photo).shape == (800, 1600, 3)
    assert channels.load("screenshot")(photo).shape == (960, 1920, 3)


def test_jitter_stays_within_its_limits() -> None:
    corners = np.array([[-1, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T
    for seed in range(50):
        matrix = codecs.draw_jitter(1, np.random.default_rng(seed)).matrix
        assert np.abs(matrix[:, 2]).max() <= 2 * codecs.SHIFT
        scale = np.sqrt(np.linalg.det(matrix[:, :2]))
        assert abs(scale - 1) <= codecs.SCALE
        assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= codecs.ROTATION
        assert np.abs(matrix @ corners).max() < 2  # never beyond the mirrored border


def test_jitter_looks_where_its_matrix_says(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:28, 40:48] = 255
    right = codecs.Jitter(np.array([[1, 0, 2 * 8 / 64], [0, 1, 0.0]]), bicubic=False)
    monkeypatch.setattr(codecs, "draw_jitter", lambda value, random: right)
    moved = channels.load("jitter")(picture)
    np.testing.assert_array_equal(moved[:, :56], picture[:, 8:])


def test_crops_of_one_kind_each() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[20:28, 40:48] = 255
    moved = channels.load("shift+3")(picture)
    np.testing.assert_array_equal(moved[17:25, 37:45], picture[20:28, 40:48])
    assert moved.sum() == picture.sum()
    assert channels.load("zoom+20")(picture).sum() < 0.8 * picture.sum()
    assert channels.load("zoom-20")(picture).sum() > 1.3 * picture.sum()
    # The crop turns clockwise, so what it shows turns the other way: from the right upwards.
    turned = channels.load("turn+45")(picture)[..., 0].astype(float)
    rows, columns = np.indices(turned.shape)
    centre = [(turned * place).sum() / turned.sum() for place in (rows, columns)]
    assert centre[0] < 20
    assert centre[1] < 40


def test_bilateral_keeps_edges_and_drops_grain() -> None:
    step = np.full((32, 32, 3), 60, np.float32)
    step[:, 16:] = 190
    grain = np.random.default_rng(0).normal(0, 4, step.shape)
    noisy = (step + grain).astype(np.uint8)
    clean = channels.load("bilateral-25")(noisy).astype(float)
    assert np.abs(clean - step).mean() < 0.7 * np.abs(noisy - step).mean()
    assert (clean[:, 16] - clean[:, 15]).mean() > 120


@pytest.mark.parametrize("name", ["magic", "jpeg75", "", "jpeg-75>", "JPEG-75", "blur-1-2"])
def test_unknown_channel_lists_the_choices(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown channel .*; choose from avif, .*webp"):
        channels.load(name)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("jpeg-0", "jpeg-N, N in 1..100"),
        ("jpeg+75", "jpeg-N"),
        ("resize", "resize-N, N in 5..400"),
        ("brightness-99", "brightnessN, N in -90..400"),
        ("round-0", "round$"),
    ],
)
def test_wrong_number_says_the_form(name: str, form: str) -> None:
    with pytest.raises(ConfigError, match=f"channel .*: expected {form}"):
        channels.load(name)


def test_avif_missing_from_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(ConfigError, match=r"pip install .pillow>=11\.3"):
        channels.load("avif-50")
    assert channels.load("jpeg-75").name == "jpeg-75"

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import unmorph
from unmorph import protector as module
from unmorph import runtime
from unmorph.errors import ConfigError, PhotoError, WeightsError
from unmorph.faces.crop import crop_square
from unmorph.protector import Protector

LIMIT = 6  # whole levels within 0.05 * 127.5


def test_protects_the_face_and_nothing_else(
    protector: Protector, portrait: NDArray[np.uint8]
) -> None:
    result = protector.protect_photo(portrait)
    assert len(result.faces) == len(result.squares) == 1
    left, top, right, bottom = result.squares[0].within(portrait)
    change = result.pixels.astype(int) - portrait
    assert (change[top:bottom, left:right] != 0).mean() > 0.5
    assert np.abs(change).max() <= LIMIT
    left, top, right, bottom = result.squares[0].grown().within(portrait)
    assert right - left < 1.3 * result.squares[0].size
    change[top:bottom, left:right] = 0
    assert not change.any()


def test_what_an_attacker_cuts_out_is_the_protected_face(
    protector: Protector, portrait: NDArray[np.uint8]
) -> None:
    result = protector.protect_photo(portrait)
    face, cut = (crop_square(p, result.squares[0])[None] for p in (portrait, result.pixels))
    assert np.abs(cut - protector.protect_faces(face)).mean() < 0.005
    assert np.abs(cut - face).mean() > 0.01


def test_likeness_counts_the_squares_only(
    protector: Protector, portrait: NDArray[np.uint8]
) -> None:
    result = protector.protect_photo(portrait)
    left, top, right, bottom = result.squares[0].within(portrait)
    inside = np.s_[top:bottom, left:right]
    error = np.square(result.pixels[inside].astype(float) - portrait[inside]).mean()
    assert result.psnr == pytest.approx(10 * np.log10(255**2 / error))
    assert result.seconds > 0


def test_several_faces(protector: Protector, portrait: NDArray[np.uint8]) -> None:
    crowd = np.concatenate([portrait[:, 90:370], portrait[:, 90:370]], axis=1)
    result = protector.protect_photo(crowd)
    assert len(result.faces) == 2
    change = np.abs(result.pixels.astype(int) - crowd)
    assert 0 < change.max() <= LIMIT
    np.testing.assert_allclose(change[:, :280].mean(), change[:, 280:].mean(), rtol=0.2)


def test_only_the_largest(protector: Protector, portrait: NDArray[np.uint8]) -> None:
    small = np.full((512, 256, 3), 128, np.uint8)
    small[100:356] = portrait[::2, ::2]
    crowd = np.concatenate([small, portrait], axis=1)
    assert len(protector.protect_photo(crowd).faces) == 2
    result = protector.protect_photo(crowd, largest=1)
    assert len(result.faces) == len(result.squares) == 1
    np.testing.assert_array_equal(result.pixels[:, :200], crowd[:, :200])
    assert (result.pixels[:, 256:] != portrait).any()


def test_box_by_hand(protector: Protector, portrait: NDArray[np.uint8]) -> None:
    found = protector.protect_photo(portrait)
    by_hand = protector.protect_photo(portrait, largest=0, boxes=[found.faces[0].box])
    assert by_hand.faces == ()
    (one,), (other,) = found.squares, by_hand.squares
    assert abs(one.size - other.size) < 0.1 * one.size
    assert abs(one.left - other.left) < 0.1 * one.size
    assert abs(one.top - other.top) < 0.1 * one.size
    both = protector.protect_photo(portrait, boxes=[(20, 400, 60, 450)])
    assert both.faces[0].box == found.faces[0].box
    assert len(both.squares) == 2


def test_face_at_the_border(protector: Protector, portrait: NDArray[np.uint8]) -> None:
    cut = np.ascontiguousarray(portrait[40:, 175:])
    result = protector.protect_photo(cut)
    assert result.squares[0].left < 0
    assert (result.pixels != cut).any()


def test_no_face_changes_nothing(protector: Protector) -> None:
    photo = np.full((100, 100, 3), 50, np.uint8)
    result = protector.protect_photo(photo)
    assert result.faces == ()
    assert result.psnr == float("inf")
    np.testing.assert_array_equal(protector.protect(photo), photo)
    assert not np.shares_memory(result.pixels, photo)


def test_black_and_white_gets_no_colour(
    defense_file: Path, portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    colourful = Protector.load(defense_file, threads=1)
    tint = np.array([0.05, 0, -0.02], np.float32)[:, None, None]
    monkeypatch.setattr(colourful, "protect_faces", lambda faces: faces + tint)
    grey = np.repeat(portrait.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    protected = colourful.protect(grey)
    assert (protected != grey).any()
    np.testing.assert_array_equal(protected, protected[..., :1].repeat(3, axis=2))
    scanned = (grey // 2 + 60 + np.random.default_rng(0).integers(0, 3, grey.shape)).astype(
        np.uint8
    )
    change = colourful.protect(scanned).astype(int) - scanned
    assert change.any()
    assert not np.ptp(change, axis=2).any()
    assert np.ptp(colourful.protect(portrait).astype(int) - portrait, axis=2).max() > 0


@pytest.mark.parametrize(
    "photo", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_what_is_no_photo(protector: Protector, photo: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"expected a photo as \(height, width, 3\) uint8"):
        protector.protect(photo)


def test_absent_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.onnx"):
        Protector.load(tmp_path / "absent.onnx")


def test_the_shipped_defenses_by_their_strength(
    defense_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtime.DEFENSES, "strong", defense_file)
    monkeypatch.setitem(runtime.DEFENSES, "subtle", Path("gone.onnx"))
    assert Protector.load(strength="strong", threads=1).defense.epsilon == 0.05
    with pytest.raises(WeightsError, match=r"gone\.onnx"):
        Protector.load(threads=1)
    with pytest.raises(ConfigError, match="'mighty'; choose one of subtle, strong"):
        Protector.load(strength="mighty")
    for refine in (0, 5):
        with pytest.raises(ConfigError, match="'mighty'; choose one of subtle, strong"):
            Protector.load(defense_file, strength="mighty", refine=refine)


def test_convenience_loads_the_shipped_defense_once(
    defense_file: Path, portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtime.DEFENSES, "subtle", defense_file)
    module._default_protector.cache_clear()
    protected = unmorph.protect(portrait)
    expected = Protector.load(defense_file).protect(portrait)
    np.testing.assert_array_equal(protected, expected)
    monkeypatch.setitem(runtime.DEFENSES, "subtle", Path("gone.onnx"))
    np.testing.assert_array_equal(unmorph.protect(portrait), expected)
    module._default_protector.cache_clear()


def test_a_box_at_a_face_that_is_found(protector: Protector, portrait: NDArray[np.uint8]) -> None:
    crowd = np.concatenate([portrait[::2, ::2], portrait[::2, ::2]], axis=1)
    found = protector.protect_photo(crowd)
    assert len(found.squares) == 2
    other = found.faces[1]
    result = protector.protect_photo(crowd, largest=1, boxes=[other.box, other.box])
    assert result.squares == found.squares  # framed as found, and once
    np.testing.assert_array_equal(result.pixels, found.pixels)
    by_hand = protector.protect_photo(crowd, largest=0, boxes=[other.box])
    assert by_hand.faces == ()
    assert by_hand.squares[0].same_face(found.squares[1])


@pytest.mark.parametrize(
    "box", [(900, 900, 999, 999), (0, 0, 2000, 2000), (-90, 0, 20, 100), (1, 1, 1, 5)]
)
def test_a_box_that_shows_no_photo(
    protector: Protector, portrait: NDArray[np.uint8], box: tuple[float, float, float, float]
) -> None:
    with pytest.raises(PhotoError, match="outside"):
        protector.protect_photo(portrait, boxes=[box])


def test_what_is_no_photo_or_no_faces(protector: Protector, portrait: NDArray[np.uint8]) -> None:
    for photo in ("me.jpg", None):
        with pytest.raises(TypeError, match=r"unmorph\.photo\.read\(path\)\.pixels"):
            protector.protect(photo)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a photo"):
        protector.protect(portrait[:0])
    faces = np.zeros((1, 3, 128, 128), np.float32)
    for wrong in (faces + 200, faces + np.float32("nan")):
        with pytest.raises(ValueError, match="bytes / 127"):
            protector.protect_faces(wrong)


@pytest.mark.parametrize("steps", [-1, 1000, 2.5, "x"])
def test_steps_that_cannot_be_made(steps: int) -> None:
    with pytest.raises(ConfigError, match="expected a number of steps, 0 to 100"):
        Protector.load(refine=steps)


@pytest.mark.parametrize("refine", [0, 1])
def test_faces_of_other_numbers(
    defense_file: Path,
    gradient_file: Path,
    classifier_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    refine: int,
) -> None:
    monkeypatch.setattr(runtime, "SHIPPED", gradient_file.parent)
    monkeypatch.setattr(runtime, "CLASSIFIER", classifier_file)
    protector = Protector.load(defense_file, refine=refine, threads=1)
    none = protector.protect_faces(np.zeros((0, 3, 128, 128), np.float32))
    assert none.shape == (0, 3, 128, 128)
    assert none.dtype == np.float32
    wide: Any = np.zeros((1, 3, 128, 128))
    assert protector.protect_faces(wide).dtype == np.float32

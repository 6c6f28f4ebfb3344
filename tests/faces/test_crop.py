from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unmorph.faces.crop import (
    MARGIN,
    Square,
    crop_square,
    emphasis,
    frame,
    paste_perturbations,
)
from unmorph.runtime import Floats

EPSILON = 0.05
FULL = 6  # levels of a flat perturbation of that strength, 0.05 * 127.5
LIMIT = 12  # whole levels within twice as much

# Medians that scripts/measure_framing.py printed, in fractions of CelebA's 178 x 178 square.
CELEBA = np.array(
    [(0.3854, 0.5205), (0.6104, 0.5168), (0.4965, 0.6545), (0.4057, 0.7473), (0.6021, 0.7447)],
    np.float32,
)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def smooth_perturbation() -> Floats:
    """A perturbation of full strength whose waves are at least 12 pixels long."""
    y, x = np.mgrid[:128, :128] / 128
    waves = [np.sin(2 * np.pi * (8 * x + 3 * y)), np.cos(2 * np.pi * 10 * y), np.sin(40 * x * y)]
    return np.stack(waves).astype(np.float32) * EPSILON


class TestFrame:
    @pytest.mark.parametrize(("left", "top", "size"), [(0, 0, 178), (-40, 300, 178), (5, 7, 2000)])
    def test_frames_as_celeba_does(self, left: int, top: int, size: int) -> None:
        square = frame(CELEBA * size + (left, top))
        assert abs(square.size - size) <= 0.005 * size + 1
        assert abs(square.left - left) <= 0.01 * size + 1
        assert abs(square.top - top) <= 0.01 * size + 1

    def test_keeps_its_size_when_the_head_tilts(self) -> None:
        angle = np.deg2rad(30)
        turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
        upright = frame(CELEBA * 178)
        tilted = frame((CELEBA - 0.5) @ turn.T * 178 + 89)
        assert abs(tilted.size - upright.size) <= 1
        # It turns about the square's centre, so the centre stays.
        assert abs(tilted.left - upright.left) <= 2
        assert abs(tilted.top - upright.top) <= 2

    def test_turned_head_shrinks_it_little(self) -> None:
        turned = CELEBA.copy()
        turned[:, 0] = 0.5 + (turned[:, 0] - 0.5) / 2  # the eyes half as far apart
        assert frame(turned * 178).size > 0.75 * 178

    def test_landmarks_in_one_point(self) -> None:
        assert frame(np.full((5, 2), 50, np.float32)) == Square(50, 50, 1)

    def test_real_celeba(self) -> None:
        data = os.environ.get("UNMORPH_DATA")
        if not data:
            pytest.skip("UNMORPH_DATA is not set: no CelebA photos to measure")
        script = Path(__file__).parents[2] / "scripts" / "measure_framing.py"
        done = subprocess.run(
            [sys.executable, script, Path(data) / "celeba", "--count", "40"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "40 of 40 photos show a face" in done.stdout
        (size,) = (line for line in done.stdout.splitlines() if "median size" in line)
        assert 174 <= int(size.split("median size ")[1].split()[0]) <= 182


class TestCrop:
    def test_same_resolution_is_exact(self) -> None:
        photo = noise(200, 300, 3)
        face = crop_square(photo, Square(100, 20, 128))
        expected = photo[20:148, 100:228].transpose(2, 0, 1) / 127.5 - 1
        assert face.dtype == np.float32
        np.testing.assert_allclose(face, expected, atol=1e-6)

    def test_repeats_the_border_beyond_the_photo(self) -> None:
        photo = noise(60, 50, 3)
        face = crop_square(photo, Square(-30, -40, 128))
        padded = np.pad(photo, ((40, 28), (30, 48), (0, 0)), mode="edge")
        np.testing.assert_allclose(face, padded.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)

    @pytest.mark.parametrize("factor", [2, 4, 8])
    def test_shrinks_without_aliasing(self, factor: int) -> None:
        # Stripes of one pixel are grey at a half, a quarter or an eighth of the size.
        photo = np.zeros((128 * factor, 128 * factor, 3), np.uint8)
        photo[:, ::2] = 255
        face = crop_square(photo, Square(0, 0, 128 * factor))
        assert np.abs(face[:, 4:-4, 4:-4]).max() < 0.02

    def test_outside(self) -> None:
        with pytest.raises(ValueError, match="outside a photo of 50 x 60"):
            crop_square(noise(60, 50, 3), Square(50, 0, 10))


class TestPaste:
    @pytest.mark.parametrize("size", [20, 90, 128, 178, 400])
    def test_bound_and_outside(self, size: int) -> None:
        photo = noise(520, 500, 3)
        rough = np.random.default_rng(1).choice([-EPSILON, EPSILON], (1, 3, 128, 128))
        square = Square(60, 70, size)
        pasted = paste_perturbations(photo, [square], rough.astype(np.float32), EPSILON)
        change = pasted.astype(int) - photo
        assert 1 <= np.abs(change).max() <= LIMIT
        left, top, right, bottom = square.grown().within(photo)
        assert right - left <= 1.25 * size
        inside = np.zeros(photo.shape, bool)
        inside[top:bottom, left:right] = True
        assert not change[~inside].any()

    def test_leaves_the_photo_alone(self) -> None:
        photo = noise(200, 200, 3)
        before = photo.copy()
        paste_perturbations(photo, [Square(0, 0, 150)], smooth_perturbation()[None], EPSILON)
        np.testing.assert_array_equal(photo, before)

    @pytest.mark.parametrize("size", [100, 128, 178, 800])
    def test_comes_back_when_the_face_is_cut_out_again(
        self, portrait: NDArray[np.uint8], size: int
    ) -> None:
        photo = np.asarray(Image.fromarray(portrait).resize((900, 900))) // 2 + 60
        square = Square(20, 30, size)
        perturbation = smooth_perturbation()
        pasted = paste_perturbations(photo, [square], perturbation[None], EPSILON)
        back = crop_square(pasted, square) - crop_square(photo, square)
        assert np.corrcoef(back.ravel(), perturbation.ravel())[0, 1] > 0.98
        assert np.abs(back - perturbation).mean() < 0.15 * EPSILON

    def test_only_the_visible_part_beyond_the_border(self) -> None:
        photo = np.full((64, 128, 3), 100, np.uint8)
        perturbation = smooth_perturbation()
        pasted = paste_perturbations(photo, [Square(0, -64, 128)], perturbation[None], EPSILON)
        expected = np.rint(perturbation[:, 64:].transpose(1, 2, 0) * 127.5)
        change = pasted.astype(int) - 100
        np.testing.assert_allclose(change, expected, atol=1)

    def test_overlapping_squares_add_up_within_the_bound(self) -> None:
        photo = np.full((128, 240, 3), 100, np.uint8)
        up = np.full((2, 3, 128, 128), 1.3 * EPSILON, np.float32)  # 8.3 levels each
        pasted = paste_perturbations(photo, [Square(0, 0, 128), Square(80, 0, 128)], up, EPSILON)
        change = pasted.astype(int) - 100
        assert (change[:, : 80 - MARGIN] == 8).all()
        assert (change[:, 80:128] == LIMIT).all()
        assert (change[:, 128 + MARGIN : 208] == 8).all()

    @pytest.mark.parametrize("size", [64, 128, 1000])
    def test_fades_out_without_an_edge(self, size: int) -> None:
        square = Square(size // 4, size // 4, size)
        photo = np.full((3 * size // 2, 3 * size // 2, 3), 100, np.uint8)
        flat = np.full((1, 3, 128, 128), EPSILON, np.float32)
        change = paste_perturbations(photo, [square], flat, EPSILON).astype(int) - 100
        left, top, right, bottom = square.within(photo)
        assert (change[top:bottom, left:right] == FULL).all()
        left, top, right, bottom = square.grown().within(photo)
        rim = change[top:bottom, left:right]
        assert (rim[[0, -1]] <= 1).all()
        assert (rim[:, [0, -1]] <= 1).all()
        if size == 1000:  # room enough to go one level at a time
            assert np.abs(np.diff(change, axis=0)).max() == 1

    @pytest.mark.parametrize("size", [128, 200, 600, 3000])
    def test_fine_detail_arrives(self, size: int) -> None:
        rng = np.random.default_rng(2)
        rough = rng.normal(0, EPSILON / 3, (1, 3, 128, 128)).astype(np.float32)
        photo = np.full((size, size, 3), 100, np.uint8)
        square = Square(0, 0, size)
        pasted = paste_perturbations(photo, [square], rough, EPSILON)
        back = (crop_square(pasted, square) - crop_square(photo, square))[None]
        # Without emphasis half of it is lost on the way.
        assert np.square(back - rough).sum() < 0.3 * np.square(rough).sum()

    def test_emphasis_is_for_detail_and_for_larger_squares(self) -> None:
        np.testing.assert_allclose(emphasis(128), np.eye(9)[4], atol=1e-5)
        stripes = np.where(np.arange(9) % 2, -1, 1)
        for size in (200, 500, 3000):
            assert emphasis(size).sum() == pytest.approx(1)
            assert emphasis(size) @ stripes > 1.2

    def test_keeps_to_the_range_of_a_byte(self) -> None:
        photo = np.array([0, 255], np.uint8).repeat(128 * 64 * 3).reshape(128, 128, 3)
        signs = np.where(photo.transpose(2, 0, 1) > 0, EPSILON, -EPSILON).astype(np.float32)
        pasted = paste_perturbations(photo, [Square(0, 0, 128)], signs[None], EPSILON)
        np.testing.assert_array_equal(pasted, photo)

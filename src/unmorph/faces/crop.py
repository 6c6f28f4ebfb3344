"""The paper's face geometry: cut a face out as CelebA frames it, put a perturbation back.

The paper takes CelebA's aligned 178 x 218 photos, cuts the centre 178 x 178 and shrinks it to
128 x 128. A face found in a photo is framed likewise, by an upright square on its landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmorph.levels import LEVELS, to_faces
from unmorph.resampling import resampling
from unmorph.runtime import SIZE, Floats

# Medians over 250 validation photos of CelebA, in sides of the paper's square, as the shipped
# detector sees them: `python scripts/measure_framing.py CELEBA_FOLDER` prints them.

#: The root of the summed squares of two distances: between the eyes, and from eyes to mouth.
SPAN = 0.3199
#: How far the square's centre lies above the middle between eyes and mouth.
RISE = 0.1323

#: Likewise for a box around a face, as the detector draws it from forehead to chin: the square's
#: side in roots of the box's area, and how far its centre lies above the box's, in sides.
BOX_SPAN, BOX_RISE = 1.769, 0.087

#: How far a perturbation goes on beyond its square, mirrored, while it fades to nothing, in
#: pixels of a face: without, the square's edge shows; and an attacker's crop may reach further.
MARGIN = 16

#: How much a perturbation is emphasised for the crop to come (`emphasis`), the less the more, and
#: how many epsilons a byte may then move: at these, a photo is a decibel or so further from its
#: original than the face is that the network protected (`results/photos/`).
CAUTION, OVERSHOOT = 0.5, 2

#: Half the length of that filter, in pixels of a face.
REACH = 4


@dataclass(frozen=True)
class Square:
    """An upright square of a photo, in pixels; it may reach beyond the photo's border."""

    left: int
    top: int
    size: int

    def within(self, photo: NDArray[np.uint8]) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of the part inside the photo."""
        height, width = photo.shape[:2]
        left, right = np.clip((self.left, self.left + self.size), 0, width)
        top, bottom = np.clip((self.top, self.top + self.size), 0, height)
        return int(left), int(top), int(right), int(bottom)

    def grown(self) -> Square:
        """Return the square and the margin around it, in which its perturbation fades."""
        margin = self.size * MARGIN // SIZE
        return Square(self.left - margin, self.top - margin, self.size + 2 * margin)

    def same_face(self, other: Square) -> bool:
        """Return whether both frame one face: their centres lie within a quarter of a side."""
        across = (2 * self.left + self.size) - (2 * other.left + other.size)
        down = (2 * self.top + self.size) - (2 * other.top + other.size)
        return 2 * max(abs(across), abs(down)) <= max(self.size, other.size)

    def overlaps(self, photo: NDArray[np.uint8]) -> bool:
        """Return whether any part of the square is inside the photo."""
        left, top, right, bottom = self.within(photo)
        return left < right and top < bottom


def frame(landmarks: Floats) -> Square:
    """Return the square that shows a face as the paper's crop of CelebA does.

    The size follows from two distances, so that a turned head (eyes closer together) and a bowed
    one (mouth closer to the eyes) change it little. The square of a tilted head is not rotated,
    but its centre follows the head.

    Args:
        landmarks: (5, 2), as in `unmorph.faces.detect.Face`, in the photo's pixels.
    """
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    down = mouth - eyes
    length = float(np.hypot(*down))
    side = float(np.hypot(np.hypot(*(landmarks[1] - landmarks[0])), length)) / SPAN
    centre = (eyes + mouth) / 2 - down / max(length, 1e-6) * RISE * side
    size = max(1, round(side))
    left, top = (round(float(value)) for value in centre - size / 2)
    return Square(left, top, size)


def frame_box(box: tuple[float, float, float, float]) -> Square:
    """Return the square that shows a face as `frame` does, from a box alone.

    Args:
        box: left, top, right, bottom of the face from forehead to chin, in the photo's pixels.
    """
    left, top, right, bottom = box
    size = max(1, round(BOX_SPAN * float(np.sqrt((right - left) * (bottom - top)))))
    x, y = (left + right) / 2, (top + bottom) / 2 - BOX_RISE * size
    return Square(round(x - size / 2), round(y - size / 2), size)


def crop_square(photo: NDArray[np.uint8], square: Square) -> Floats:
    """Return a photo's square as one face (3, 128, 128) in [-1, 1].

    Shrinks without aliasing, as whoever edits the face will; where the square leaves the photo,
    the photo's border is repeated.

    Raises:
        ValueError: the square lies outside the photo.
    """
    return to_faces(np.asarray(cut_square(photo, square, SIZE)))


def cut_square(
    photo: NDArray[np.uint8],
    square: Square,
    side: int,
    how: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """Return a photo's square as a picture with sides of so many pixels; see `crop_square`."""
    if not square.overlaps(photo):
        raise ValueError(f"{square} lies outside a photo of {photo.shape[1]} x {photo.shape[0]}")
    left, top, right, bottom = square.within(photo)
    inside = photo[top:bottom, left:right]
    beyond = (
        (top - square.top, square.top + square.size - bottom),
        (left - square.left, square.left + square.size - right),
        (0, 0),
    )
    if any(map(any, beyond)):
        inside = np.pad(inside, beyond, mode="edge")
    return Image.fromarray(inside).resize((side, side), how, reducing_gap=3)


def paste_perturbations(
    photo: NDArray[np.uint8],
    squares: Sequence[Square],
    perturbations: Floats,
    epsilon: float,
) -> NDArray[np.uint8]:
    """Return a photo with each face's perturbation added at the photo's own resolution.

    The perturbations (N, 3, 128, 128), on the scale [-1, 1], are resized, never the faces. Their
    detail is emphasised beforehand (`emphasis`), they fade out over a margin around their squares
    and add up where they overlap; in the end no byte has moved by more than `OVERSHOOT` times
    ``epsilon`` (12.75 levels for the paper's 0.05), and none outside the squares and their margins
    (`Square.grown`) at all.
    """
    protected: NDArray[np.uint8] = photo.copy()
    # Whole levels, so that rounding cannot step over the limit.
    limit = int(OVERSHOOT * epsilon * LEVELS)
    for square, perturbation in zip(squares, perturbations, strict=True):
        emphasised = emphasis(square.size)
        left, top, right, bottom = square.grown().within(photo)
        grid = SIZE / square.size
        box = (
            (left - square.left) * grid + MARGIN,
            (top - square.top) * grid + MARGIN,
            (right - square.left) * grid + MARGIN,
            (bottom - square.top) * grid + MARGIN,
        )
        region = np.s_[top:bottom, left:right]
        # One channel at a time: a square of a large photo is millions of pixels.
        for channel, plane in enumerate(perturbation):
            size = (right - left, bottom - top)
            detail = _filtered(_faded(plane), emphasised)
            change = np.rint(_resized(detail * LEVELS, size, box)).astype(np.int16)
            before = photo[region][..., channel].astype(np.int16)
            change += protected[region][..., channel] - before
            before += np.clip(change, -limit, limit, out=change)
            protected[region][..., channel] = np.clip(before, 0, 255, out=before)
    return protected


def emphasis(size: int) -> Floats:
    """Return the filter that prepares a perturbation for being cut out again.

    Whoever cuts a face out of a photo shrinks it without aliasing, which takes a good part of the
    finest detail. With R what becomes of one row of a perturbation that is resized to the photo
    and cut out again, (R'R + c)^-1 (R' + c) is least squares (Tikhonov) for what arrives as it was
    meant, drawn by c = `CAUTION` towards no emphasis. It is the same for all pixels but those at
    the ends, where nothing is left to emphasise.

    Args:
        size: the square's side in the photo, in pixels.

    Returns:
        (2 * `REACH` + 1,), for rows as for columns; its sum is 1.
    """
    # Beyond eight times a face's size, what is cut out no longer depends on it; and sizes are
    # rounded to a few percent, so that an album's faces share some filters.
    steps = round(16 * np.log2(min(size, 8 * SIZE)))
    return _emphasis(round(2 ** (steps / 16)))


@lru_cache(maxsize=256)
def _emphasis(size: int) -> Floats:
    length = SIZE + 2 * MARGIN
    there = round(length * size / SIZE)
    sent = resampling(length, there, Image.Resampling.LANCZOS).astype(np.float64)
    arrived = resampling(there, length, Image.Resampling.BILINEAR) @ sent
    caution = CAUTION * np.eye(length)
    solved = np.linalg.solve(arrived.T @ arrived + caution, arrived.T + caution)
    taps = np.array(
        [np.diagonal(solved, place)[REACH:-REACH].mean() for place in range(-REACH, REACH + 1)]
    )
    found: Floats = (taps / taps.sum()).astype(np.float32)
    return found


def _filtered(plane: Floats, taps: Floats) -> Floats:
    """Return a plane whose rows and columns were filtered."""
    for axis in (0, 1):
        ahead = np.pad(plane, [(REACH, REACH) if axis == along else (0, 0) for along in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(ahead, len(taps), axis)
        # Not a product of matrices: its threads would be in the way of other photos'.
        plane = sum(tap * windows[..., place] for place, tap in enumerate(taps))
    return plane


def _faded(plane: Floats) -> Floats:
    """Return a plane (128, 128) with its mirrored surroundings, which fade to nothing."""
    around: Floats = np.pad(plane, MARGIN, mode="symmetric") * _FADING
    return around


def _fading() -> Floats:
    """Return the weight of each pixel of a plane and its margin: a raised cosine in the margin."""
    distance = (np.arange(SIZE + 2 * MARGIN) + 0.5) / MARGIN
    near = np.minimum(1, np.minimum(distance, distance[::-1]))
    weight = (1 - np.cos(np.pi * near)) / 2
    return np.outer(weight, weight).astype(np.float32)


_FADING = _fading()


def _resized(
    plane: Floats, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box=box))

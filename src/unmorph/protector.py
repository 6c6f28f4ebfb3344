"""The main road: a photo, its faces, their defense, the protected photo."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from unmorph.bounds import without_colour
from unmorph.errors import ConfigError, PhotoError
from unmorph.faces.crop import Square, crop_square, frame, frame_box, paste_perturbations
from unmorph.faces.detect import Face, FaceDetector
from unmorph.refining import AIMS, Refiner
from unmorph.runtime import FaceDefense, Floats, OnnxDefense, shipped_defense

#: The strength of the shipped defense where none is named.
DEFAULT_STRENGTH = "subtle"

#: The share of a face by hand that the photo shows at least.
_WITHIN = 0.25

#: More gradient steps than anybody waits for.
MOST_STEPS = 100

#: Rows of a photo that are compared at once.
_ROWS = 64


@dataclass(frozen=True, eq=False)
class ProtectedPhoto:
    """A protected photo and what was done to it."""

    #: (height, width, 3) uint8; equal to the photo where it shows no face.
    pixels: NDArray[np.uint8]
    #: The faces that were found and protected, the largest first.
    faces: tuple[Face, ...]
    #: Where the photo was protected: around each of them, then around each of the given boxes.
    squares: tuple[Square, ...]
    #: Likeness to the photo in decibels, over the squares only; infinite where nothing changed.
    psnr: float
    #: How long finding and protecting took.
    seconds: float


class Protector:
    """Protects the faces in photos; make one and use it for many.

    Args:
        defense: what computes the perturbation of a batch of faces.
        detector: what finds the faces in a photo.
    """

    def __init__(self, defense: FaceDefense, detector: FaceDetector) -> None:
        self.defense = defense
        self.detector = detector

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] | None = None,
        *,
        strength: str = DEFAULT_STRENGTH,
        refine: int = 0,
        threads: int | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Protector:
        """Return a protector with a learned defense.

        Args:
            weights: the ONNX file of a defense, in place of one in this package.
            strength: which of those: ``subtle``, which nobody sees, or ``strong``, which survives
                more of what befalls photos on their way; beside ``weights``, what the steps of
                ``refine`` are after.
            refine: gradient steps through the shipped deepfakes that follow it on each face
                (`unmorph.refining`): about half a second or more each on a laptop. As many edits
                are stopped or somewhat more, and less shows; 10 is a good choice.
            threads: how many cores to use; all of them by default.
            on_step: called after each gradient step on a photo's faces.

        Raises:
            ConfigError: there is no such strength, or so many steps.
            WeightsError: a network is absent, damaged, or not a defense.
        """
        shipped = shipped_defense(strength)  # refuses a strength that there is not
        if not (isinstance(refine, int) and 0 <= refine <= MOST_STEPS):
            raise ConfigError(f"refine={refine!r}: expected a number of steps, 0 to {MOST_STEPS}")
        defense: FaceDefense = OnnxDefense(weights or shipped, threads)
        if refine:
            defense = Refiner.load(
                defense, refine, AIMS[strength], threads=threads, on_step=on_step
            )
        return cls(defense, FaceDetector(threads=threads))

    def protect(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the photo with every face protected; pixels away from faces are the same.

        Where no face is found the result equals the photo: `protect_photo` tells.

        Args:
            photo: (height, width, 3) uint8, RGB, upright.
        """
        return self.protect_photo(photo).pixels

    def protect_photo(
        self,
        photo: NDArray[np.uint8],
        *,
        largest: int | None = None,
        boxes: Sequence[tuple[float, float, float, float]] = (),
    ) -> ProtectedPhoto:
        """Return the protected photo together with its faces, likeness and time.

        Args:
            photo: (height, width, 3) uint8, RGB, upright.
            largest: protect only so many of the largest faces that the detector finds, which is
                not asked where it is 0; all by default.
            boxes: left, top, right, bottom of more faces, from forehead to chin; where the
                detector finds the face, it is protected as found, which frames it better.

        Raises:
            ValueError: the photo is of another kind.
            TypeError: it is no array.
            PhotoError: most of a box lies outside it.
        """
        if not isinstance(photo, np.ndarray):
            raise TypeError(
                f"expected a photo as an array, got {type(photo).__name__}; "
                "unmorph.photo.read(path).pixels is that of a file"
            )
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise ValueError(
                "expected a photo as (height, width, 3) uint8, got "
                f"{tuple(photo.shape)} {photo.dtype}"
            )
        start = time.perf_counter()
        for box in boxes:
            if _share_within(box, photo) < _WITHIN:
                left, top, right, bottom = box
                raise PhotoError(
                    f"the box from {left:g},{top:g} to {right:g},{bottom:g} lies outside the photo "
                    f"of {photo.shape[1]} x {photo.shape[0]} pixels, or most of it does"
                )
        detected = [] if largest == 0 else self.detector.detect(photo)
        found = [(face, frame(face.landmarks)) for face in detected]
        visible = [(face, square) for face, square in found if square.overlaps(photo)]
        wanted, by_hand = visible[:largest], []
        for square in map(frame_box, boxes):
            same = [pair for pair in visible if pair[1].same_face(square)][:1]
            wanted += [pair for pair in same if all(pair is not other for other in wanted)]
            by_hand += [] if same else [square]
        faces = tuple(face for face, _ in wanted)
        squares = (*(square for _, square in wanted), *by_hand)
        protected = self._protected(photo, squares)
        psnr = _psnr(photo, protected, squares)
        return ProtectedPhoto(protected, faces, squares, psnr, time.perf_counter() - start)

    def protect_faces(self, faces: Floats) -> Floats:
        """Return a batch of faces protected.

        Args:
            faces: (N, 3, 128, 128) float32 in [-1, 1], framed as the paper does; the result, also
                float32, stays within the defense's epsilon of them.

        Raises:
            ValueError: they are of another shape, or not within [-1, 1].
        """
        faces = np.asarray(faces, np.float32)
        if not (np.abs(faces) <= 1).all():  # nor is anything that is no number
            raise ValueError("expected faces on the scale [-1, 1]: bytes / 127.5 - 1")
        return self.defense.protect(faces) if len(faces) else faces.copy()

    def _protected(
        self, photo: NDArray[np.uint8], squares: tuple[Square, ...]
    ) -> NDArray[np.uint8]:
        if not squares:
            unchanged: NDArray[np.uint8] = photo.copy()
            return unchanged
        faces = np.stack([crop_square(photo, square) for square in squares])
        perturbations = without_colour(faces, self.protect_faces(faces) - faces)
        return paste_perturbations(photo, squares, perturbations, self.defense.epsilon)


def protect(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the photo with every face protected by the shipped defense.

    Args:
        photo: (height, width, 3) uint8, RGB, upright; unchanged where it shows no face.

    Raises:
        WeightsError: the shipped networks are damaged.
    """
    return _default_protector().protect(photo)


@cache
def _default_protector() -> Protector:
    return Protector.load()


def _share_within(box: tuple[float, float, float, float], photo: NDArray[np.uint8]) -> float:
    """Return how much of a box's area a photo shows, 0 to 1."""
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        return 0.0
    height, width = photo.shape[:2]
    across: float = max(0, min(right, width) - max(left, 0))
    down: float = max(0, min(bottom, height) - max(top, 0))
    return across * down / ((right - left) * (bottom - top))


def _psnr(
    photo: NDArray[np.uint8], protected: NDArray[np.uint8], squares: tuple[Square, ...]
) -> float:
    """Return the peak signal-to-noise ratio over the squares; an overlap counts for each."""
    total, count = 0, 0
    for square in squares:
        left, top, right, bottom = square.within(photo)
        for row in range(top, bottom, _ROWS):  # to hold no second copy of a large square
            some = np.s_[row : min(row + _ROWS, bottom), left:right]
            change = protected[some].astype(np.int16) - photo[some]
            total += int(np.square(change, dtype=np.int32).sum(dtype=np.int64))
        count += (right - left) * (bottom - top) * 3
    return float(10 * np.log10(255**2 * count / total)) if total else float("inf")

"""How an attacker's tool cuts a face out of a photo, which is not how the defense framed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmorph.channels.codecs import Jitter, draw_jitter, look
from unmorph.faces.crop import Square, cut_square, frame
from unmorph.faces.detect import Face
from unmorph.levels import to_faces
from unmorph.registry import Registry
from unmorph.runtime import SIZE, Floats

# Medians over 25 photos of FFHQ and 25 of CelebA.

#: The paper's square in longer sides of the detector's box.
BOX_SIDE = 1.51
#: How far its centre lies above that of the box, in its own sides.
BOX_RISE = 0.087


@dataclass(frozen=True)
class Crop:
    """One face's place in a photo, and how its pixels are taken.

    Attributes:
        square: where it lies.
        how: the interpolation.
        jitter: how the crop strays from the square; None where it does not.
    """

    square: Square
    how: Image.Resampling = Image.Resampling.BILINEAR
    jitter: Jitter | None = None

    def __call__(self, photo: NDArray[np.uint8]) -> Floats:
        """Return the face (3, 128, 128) in [-1, 1].

        Raises:
            ValueError: the square lies outside the photo.
        """
        if self.jitter is None:
            return to_faces(np.asarray(cut_square(photo, self.square, SIZE, self.how)))
        half = self.square.size // 2
        around = Square(
            self.square.left - half, self.square.top - half, self.square.size + 2 * half
        )
        found = look(cut_square(photo, around, 2 * SIZE), SIZE // 2, self.jitter)
        return to_faces(np.asarray(found))


Cropper = Callable[[Face, np.random.Generator], Crop]

CROPS: Registry[Cropper] = Registry("crop")


@CROPS.register("landmarks")
def _landmarks(face: Face, random: np.random.Generator) -> Crop:
    """Frame the face as the defense does, on landmarks found anew."""
    return Crop(frame(face.landmarks))


@CROPS.register("box")
def _box(face: Face, random: np.random.Generator) -> Crop:
    """Widen the detector's box, as most tools do, and shrink it bicubically."""
    left, top, right, bottom = face.box
    side = BOX_SIDE * max(right - left, bottom - top)
    corner = ((left + right - side) / 2, (top + bottom - side) / 2 - BOX_RISE * side)
    square = Square(round(corner[0]), round(corner[1]), max(1, round(side)))
    return Crop(square, Image.Resampling.BICUBIC)


@CROPS.register("jitter")
def _jitter(face: Face, random: np.random.Generator) -> Crop:
    """Frame the face by its landmarks, then stray: shifted, scaled and turned."""
    return Crop(frame(face.landmarks), jitter=draw_jitter(1, random))

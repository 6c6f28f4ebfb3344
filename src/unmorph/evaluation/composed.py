"""Large photos with faces of many sizes, put together from a set's own photos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmorph.datasets.base import FaceDataset

#: Width and height of a composed photo: 12 megapixels.
CANVAS = (4000, 3000)

#: The smallest and the largest pasted face, as the side of the set's own crop.
FACES = (100, 1500)

#: How many faces a photo is to show, and how often a place for one is tried.
PER_PHOTO, TRIES = 5, 40


class ComposedPhotos:
    """Photos of several faces on a smooth ground; the same seed composes the same photos.

    Args:
        dataset: whose faces are pasted, each in one photo only.
        seed: of sizes and places.
    """

    each = PER_PHOTO

    def __init__(self, dataset: FaceDataset, seed: int = 0) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset) // PER_PHOTO

    def photo(self, index: int) -> NDArray[np.uint8]:
        """Return photo ``index``, (3000, 4000, 3)."""
        random = np.random.default_rng((self.seed, index))
        ground = random.integers(60, 200, (3, 4, 3), dtype=np.uint8)
        canvas = Image.fromarray(ground).resize(CANVAS, Image.Resampling.BICUBIC)
        taken: list[tuple[int, int, int]] = []
        least, most = np.log(FACES)
        sides = np.exp(random.uniform(least, most, PER_PHOTO)).round().astype(int)
        for face, side in enumerate(sorted(sides.tolist(), reverse=True)):
            place = _place(side, taken, random)
            if place is not None:
                taken.append((*place, side))
                pixels = self.dataset.face(index * PER_PHOTO + face, side)
                canvas.paste(Image.fromarray(pixels), place)
        return np.array(canvas)


def _place(
    side: int, taken: list[tuple[int, int, int]], random: np.random.Generator
) -> tuple[int, int] | None:
    """Return a free place for a square, left and top; None where none was found."""
    for _ in range(TRIES):
        left = int(random.integers(0, CANVAS[0] - side + 1))
        top = int(random.integers(0, CANVAS[1] - side + 1))
        free = (
            left + side <= other_left
            or other_left + other <= left
            or top + side <= other_top
            or other_top + other <= top
            for other_left, other_top, other in taken
        )
        if all(free):
            return left, top
    return None

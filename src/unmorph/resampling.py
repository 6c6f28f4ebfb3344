"""A resize or a blur as the linear map that it is, for what has to be undone or foreseen."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from unmorph.runtime import Floats


def resampling(side: int, other: int, how: Image.Resampling) -> Floats:
    """Return what Pillow's resize does to one row of pixels, as a matrix (other, side)."""
    one = Image.fromarray(np.eye(side, dtype=np.float32))
    return np.asarray(one.resize((side, other), how))


@cache
def gaussian(side: int, sigma: float) -> Floats:
    """Return what a Gaussian blur does to one row of pixels, as a matrix (side, side).

    It is shared, and so read-only.
    """
    place = np.arange(side, dtype=np.float32)
    near = np.exp(-np.square(place[:, None] - place) / (2 * sigma**2))
    found: Floats = near / near.sum(axis=1, keepdims=True)
    found.setflags(write=False)
    return found


def blurred(values: Floats, sigma: float) -> Floats:
    """Return (N, C, H, W) through a Gaussian blur of ``sigma`` pixels."""
    rows, columns = (gaussian(side, sigma) for side in values.shape[2:])
    found: Floats = rows @ values @ columns.T
    return found

"""Between photos, whose colours have 256 levels, and faces, whose colours run from -1 to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Levels of a photo for one unit of a face.
LEVELS = 127.5


def to_faces(photos: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert uint8 photos (..., H, W, 3) to faces: float32 (..., 3, H, W) in [-1, 1]."""
    # Channel after channel in memory too: what follows takes several times as long otherwise.
    faces = np.moveaxis(photos, -1, -3).astype(np.float32, order="C")
    faces /= LEVELS
    faces -= 1
    return faces


def to_photos(faces: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert faces (..., 3, H, W) to uint8 photos (..., H, W, 3), as a file would hold them.

    What lies beyond [-1, 1] is cut off.
    """
    levels = np.rint((faces.clip(-1, 1) + 1) * LEVELS).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, -3, -1))

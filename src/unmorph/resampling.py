"""A resize as the linear map that it is, for what has to be undone or foreseen."""

from __future__ import annotations

import numpy as np
from PIL import Image

from unmorph.runtime import Floats


def resampling(side: int, other: int, how: Image.Resampling) -> Floats:
    """Return what Pillow's resize does to one row of pixels, as a matrix (other, side)."""
    one = Image.fromarray(np.eye(side, dtype=np.float32))
    return np.asarray(one.resize((side, other), how))

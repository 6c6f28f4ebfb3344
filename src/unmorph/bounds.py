"""The one place that keeps a protected face within epsilon and within the valid range."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unmorph.levels import LEVELS

#: A numpy array or a torch tensor: whatever has ``clip`` and arithmetic.
Faces = TypeVar("Faces", bound=Any)

#: A face whose colours lie less apart, on average and on [-1, 1], is black and white; scanners and
#: JPEG leave a level or two.
_GREY = 3 / LEVELS


def bound(faces: Faces, protected: Faces, epsilon: float) -> Faces:
    """Return ``protected`` moved to the nearest valid image within ``epsilon`` of ``faces``.

    Both are NCHW batches in [-1, 1], numpy arrays or torch tensors alike, and ``epsilon`` is on
    that scale: the result obeys ``|result - faces| <= epsilon`` (to float rounding) and
    ``-1 <= result <= 1``. Differentiable where the input is.
    """
    if protected.shape != faces.shape:
        raise ValueError(
            f"a defense must keep the shape of its faces: expected {tuple(faces.shape)}, "
            f"got {tuple(protected.shape)}"
        )
    delta = (protected - faces).clip(-epsilon, epsilon)
    clipped: Faces = (faces + delta).clip(-1.0, 1.0)
    return clipped


def without_colour(
    faces: NDArray[np.float32], perturbations: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the perturbations (N, 3, H, W), those of black-and-white faces without colour."""
    mean = perturbations.mean(axis=1, keepdims=True)
    grey = are_grey(faces)[:, None, None, None]
    uncoloured: NDArray[np.float32] = np.where(grey, mean, perturbations)
    return uncoloured


def are_grey(faces: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of some faces (N, 3, H, W) in [-1, 1] are black and white, (N,)."""
    grey: NDArray[np.bool_] = np.ptp(faces, axis=1).mean(axis=(1, 2)) < _GREY
    return grey

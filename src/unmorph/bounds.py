"""The one place that keeps a protected face within epsilon and within the valid range."""

from __future__ import annotations

from typing import Any, TypeVar

#: A numpy array or a torch tensor: whatever has ``clip`` and arithmetic.
Faces = TypeVar("Faces", bound=Any)


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

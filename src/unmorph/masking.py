"""Where a face hides a perturbation: texture masks what smooth skin would show."""

from __future__ import annotations

import numpy as np

from unmorph.resampling import blurred
from unmorph.runtime import Floats

#: SSIM's window and constant (Wang et al. 2004), on [-1, 1].
_SIGMA = 1.5
_C2 = np.float32((0.03 * 2) ** 2)


def masking(faces: Floats, strength: float) -> Floats:
    """Return the share of a step that each pixel takes, so that what comes of it shows less.

    A perturbation d whose mean is zero about every pixel costs 1 - SSIM of about the mean of
    d^2 / (2 var(x) + C2). This is steepest descent where a pixel's square counts by
    1 + ``strength`` times that weight, the weight being 1 on average over the face.

    Args:
        faces: (N, C, H, W) in [-1, 1].
        strength: 0 treats all pixels alike.

    Returns:
        positive factors of the same shape.
    """
    variance = blurred(np.square(faces), _SIGMA) - np.square(blurred(faces, _SIGMA))
    weight = blurred(1 / (2 * variance.clip(0) + _C2), _SIGMA)
    weight /= weight.mean(axis=(1, 2, 3), keepdims=True)
    share: Floats = 1 / (1 + np.float32(strength) * weight)
    return share

from __future__ import annotations

import numpy as np
import torch

from unmorph import metrics
from unmorph.masking import masking
from unmorph.runtime import Floats


def half_smooth() -> Floats:
    """Return faces whose left half is one colour, and whose right half is noise."""
    faces = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 3, 128, 128)).astype(np.float32)
    faces[..., :64] = 0.1
    return faces


def test_texture_takes_more_than_smooth_skin() -> None:
    share = masking(half_smooth(), 3.0)
    assert share.shape == (2, 3, 128, 128)
    assert share.dtype == np.float32
    assert share[..., :56].max() < 0.2 * share[..., 72:].min()
    assert share.min() > 0
    assert share.max() <= 1


def test_without_strength_all_pixels_are_alike() -> None:
    assert (masking(half_smooth(), 0.0) == 1).all()


def test_a_flat_face_is_treated_alike_everywhere() -> None:
    share = masking(np.full((1, 3, 32, 32), -0.4, np.float32), 3.0)
    np.testing.assert_allclose(share, 0.25, rtol=1e-3)


def test_keeps_structure_at_the_same_psnr() -> None:
    faces = half_smooth()
    change = np.random.default_rng(0).normal(size=faces.shape).astype(np.float32)
    masked = masking(faces, 3.0) * change
    masked *= np.sqrt(np.square(change).mean() / np.square(masked).mean())
    x, spread, hidden = (torch.from_numpy(a) for a in (faces, 0.02 * change, 0.02 * masked))
    lost = 1 - metrics.ssim(x, x + spread).mean()
    assert 1 - metrics.ssim(x, x + hidden).mean() < 0.4 * lost

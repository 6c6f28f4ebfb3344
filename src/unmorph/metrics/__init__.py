"""Figures of two face batches, each a pure function that returns one value per image.

Faces are float32 (N, 3, H, W) in [-1,1]. "L2" is the mean squared error on that scale, as in the
paper; a mean over images is the mean of the per-image figures. Texture is compared by the codes
that `lbp_maps` makes of a batch.
"""

from unmorph.metrics.judge import edit_success
from unmorph.metrics.lbp import lbp_difference, lbp_maps
from unmorph.metrics.lpips import LPIPS
from unmorph.metrics.pixels import l2, psnr, ssim
from unmorph.metrics.suppression import dsr, moved, moved_threshold, strict_dsr, suppression

__all__ = [
    "LPIPS",
    "dsr",
    "edit_success",
    "l2",
    "lbp_difference",
    "lbp_maps",
    "moved",
    "moved_threshold",
    "psnr",
    "ssim",
    "strict_dsr",
    "suppression",
]

"""Local binary patterns (Ojala et al. 2002): a texture code for each pixel."""

from __future__ import annotations

import numpy as np
import torch
from skimage.feature import local_binary_pattern
from torch import Tensor

from unmorph.levels import LEVELS

#: Rec. 601 luma of red, green, blue.
_LUMA = (0.299, 0.587, 0.114)


def lbp_maps(faces: Tensor) -> Tensor:
    """Return the codes (N, H, W), 0..255: eight neighbours at radius 1 on the 8-bit grey image."""
    luma = torch.tensor(_LUMA, device=faces.device).view(1, 3, 1, 1)
    grey = ((faces + 1) * LEVELS * luma).sum(dim=1).round().clamp(0, 255)
    images = grey.to(torch.uint8).cpu().numpy()
    codes = [local_binary_pattern(image, P=8, R=1) for image in images]
    return torch.from_numpy(np.stack(codes).astype(np.uint8))


def lbp_difference(first: Tensor, second: Tensor) -> Tensor:
    """Return the share of pixels (N,) whose code differs between two batches of maps (N, H, W).

    Raises:
        ValueError: they are no maps of one shape.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(
            "expected two batches of LBP maps (N, H, W) of one shape, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return (first != second).float().mean(dim=(1, 2))

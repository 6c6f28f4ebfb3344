"""L2, PSNR and SSIM on the scale [-1,1]."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

#: Width of the range [-1,1].
DATA_RANGE = 2.0


def check_pair(first: Tensor, second: Tensor) -> None:
    """Refuse to broadcast: both batches must be (N, 3, H, W) of the same shape.

    Raises:
        ValueError: they are not.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(
            "expected two face batches (N, 3, H, W) of one shape, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def l2(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared error of each image (N,): the paper's "L2"."""
    check_pair(first, second)
    return (first - second).square().mean(dim=(1, 2, 3))


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image (N,) in dB; infinite for equal images."""
    return 10 * torch.log10(DATA_RANGE**2 / l2(first, second))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of each image (N,), 1 for equal images.

    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03 (Wang et al. 2004), mean over the
    channels and the whole image, its borders mirrored. Of values on [-1,1], as networks have them,
    where Wang et al. have them from 0: contrast and structure are the same, but a change of
    brightness counts as much in mid-grey as there in black. Fine perturbations come out alike,
    coarse ones and edits lower here.
    """
    check_pair(first, second)
    values = structural_similarity_index_measure(
        first, second, reduction="none", data_range=DATA_RANGE
    )
    return cast(Tensor, values)

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unmorph.metrics import lbp_difference, lbp_maps


def faces() -> Tensor:
    return torch.rand(2, 3, 12, 14, generator=torch.Generator().manual_seed(0)) * 2 - 1


def code(image: np.ndarray, row: int, column: int) -> int:
    """One pixel's code by the definition: neighbours on the unit circle, read bilinearly."""
    total = 0
    for p in range(8):
        y = row - round(np.sin(2 * np.pi * p / 8), 5)
        x = column + round(np.cos(2 * np.pi * p / 8), 5)
        top, left = int(np.floor(y)), int(np.floor(x))
        dy, dx = y - top, x - left
        patch = image[top : top + 2, left : left + 2].astype(float)
        value = np.array([1 - dy, dy]) @ patch @ np.array([1 - dx, dx])
        total += (value >= image[row, column]) << p
    return int(total)


def test_codes_follow_the_definition() -> None:
    batch = faces()
    red, green, blue = ((batch[0] + 1) * 127.5).double().numpy()
    grey = np.round(0.299 * red + 0.587 * green + 0.114 * blue)
    expected = [[code(grey, row, column) for column in range(1, 12)] for row in range(1, 10)]
    assert lbp_maps(batch)[0, 1:10, 1:12].tolist() == expected


def test_difference_is_the_share_of_changed_codes() -> None:
    first = faces()
    second = first.clone()
    second[1, :, 6, 7] = -second[1, :, 6, 7].sign()
    changed = (lbp_maps(first)[1] != lbp_maps(second)[1]).sum().item()
    assert 1 <= changed <= 9
    torch.testing.assert_close(
        lbp_difference(lbp_maps(first), lbp_maps(second)), torch.tensor([0.0, changed / (12 * 14)])
    )


def test_only_maps_of_one_shape_compare() -> None:
    maps = lbp_maps(faces())
    for other in (maps[:1], faces()):
        with pytest.raises(ValueError, match=r"two batches of LBP maps \(N, H, W\) of one shape"):
            lbp_difference(maps, other)


def test_a_shift_of_brightness_keeps_the_texture() -> None:
    dark = torch.full((1, 3, 8, 8), -0.5)
    dark[:, :, 2:5, 3:6] = -0.1
    assert lbp_difference(lbp_maps(dark), lbp_maps(dark + 0.4)).item() == 0

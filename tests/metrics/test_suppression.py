from __future__ import annotations

import math

import pytest
import torch

from unmorph.metrics import dsr, moved, moved_threshold, strict_dsr, suppression


def test_dsr_counts_the_threshold_itself() -> None:
    assert dsr(torch.tensor([0.01, 0.05, 0.0501])).tolist() == [1, 1, 0]


def test_suppression_by_hand() -> None:
    movement = torch.tensor([0.04, 0.04, 0.04, 0.04])
    residue = torch.tensor([0.0, 0.01, 0.04, 0.08])
    torch.testing.assert_close(suppression(movement, residue), torch.tensor([1.0, 0.75, 0.0, -1.0]))


def test_strict_dsr_is_over_moved_pairs_only() -> None:
    movement = torch.tensor([[0.02, 0.005], [0.04, 0.03]])
    residue = torch.tensor([[0.001, 0.0], [0.02, 0.03]])
    # s of the counted pairs: 0.95, 0.5, 0; the pair moved by 0.005 (s = 1) is left out.
    assert strict_dsr(movement, residue) == pytest.approx(1 / 3)


def test_subtle_deepfake_is_measured_by_its_own_median() -> None:
    movement = torch.tensor([0.001, 0.004, 0.006, 0.008])
    assert moved_threshold(movement) == pytest.approx(0.0025)
    assert moved(movement).tolist() == [False, True, True, True]


def test_strong_deepfake_is_measured_by_the_fixed_threshold() -> None:
    movement = torch.tensor([0.009, 0.04, 0.06, 0.08])
    assert moved_threshold(movement) == 0.01
    assert moved(movement).tolist() == [False, True, True, True]


def test_deepfake_that_moves_nothing_gives_no_figure() -> None:
    still = torch.zeros(4)
    assert not moved(still).any()
    assert math.isnan(strict_dsr(still, still))

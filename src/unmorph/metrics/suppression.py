"""How far a defense keeps an edit from happening.

All functions are elementwise or reduce over every pair of a face and an edit, whatever the shape.
Movement is L2(x, G(x, c)): how far the deepfake moves the unprotected face. Residue is
L2(x_adv, G(x_adv, c)): how far it still moves the protected one.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The paper's threshold of its defense success rate.
DSR_THRESHOLD = 0.05

#: An edit counts as suppressed from here on.
STRICT_SUPPRESSION = 0.75

#: A pair that the deepfake moves by less proves nothing about the defense.
MOVED_THRESHOLD = 0.01


def dsr(residue: Tensor, threshold: float = DSR_THRESHOLD) -> Tensor:
    """Return 1 where the deepfake's output stays within ``threshold`` of its input, else 0.

    The paper's figure (called ASR in its table 2). It is lenient: most unprotected faces pass too,
    so show that of unprotected faces beside it.
    """
    return (residue <= threshold).float()


def suppression(movement: Tensor, residue: Tensor) -> Tensor:
    """Return s = 1 - residue / movement: 1 where the edit is nullified, 0 where it is untouched."""
    return 1 - residue / movement


def moved_threshold(movement: Tensor) -> float:
    """Return the movement from which pairs are counted.

    It is `MOVED_THRESHOLD`, or half the deepfake's median movement where its edits are subtler
    than that.
    """
    return min(MOVED_THRESHOLD, movement.flatten().quantile(0.5).item() / 2)


def moved(movement: Tensor) -> Tensor:
    """Return which pairs are counted, as booleans of the same shape."""
    return (movement >= moved_threshold(movement)) & (movement > 0)


def strict_dsr(movement: Tensor, residue: Tensor) -> float:
    """Return the share of counted pairs with s >= 0.75; not a number where none is counted."""
    counted = moved(movement)
    values = suppression(movement[counted], residue[counted])
    return (values >= STRICT_SUPPRESSION).to(torch.float64).mean().item()

"""Edit success: does an independent attribute classifier see what the edit asked for?"""

from __future__ import annotations

from torch import Tensor

from unmorph.attributes import ATTRIBUTES


def edit_success(logits: Tensor, targets: Tensor, edit: str) -> Tensor:
    """Return 1 where the judge assigns the asked-for attribute, else 0, per image (N,).

    Args:
        logits: the judge's output (N, 5) on edited faces; that on untouched ones gives the floor.
        targets: the labels (N, 5) of 0 and 1 that the edit asks for.
        edit: a name in `unmorph.attributes.ATTRIBUTES`.
    """
    position = ATTRIBUTES.index(edit)
    return ((logits[:, position] > 0) == (targets[:, position] > 0.5)).float()

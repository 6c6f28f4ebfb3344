"""The attribute domains of the paper's StarGAN and what one edit does to a face's labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from unmorph.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch

    Labels = TypeVar("Labels", np.ndarray, torch.Tensor)

#: The five domains, in the order of the publisher's CelebA networks; also the names of the edits.
ATTRIBUTES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")

#: Positions of the hair colours in `ATTRIBUTES`: they exclude each other.
HAIR = (0, 1, 2)


def are_attributes(edits: Iterable[str]) -> bool:
    """Return whether edits are of these domains: only such start from the present labels."""
    return set(edits) <= set(ATTRIBUTES)


def edit_targets(labels: Labels, edit: str) -> Labels:
    """Return the labels that one edit asks for.

    A hair colour is set and the other two are cleared; ``Male`` and ``Young`` are flipped; every
    other attribute is kept (Choi et al. 2018, as the publisher's code runs its CelebA networks).

    Args:
        labels: the present labels, (N, 5) of 0 and 1; never modified.
        edit: a name in `ATTRIBUTES`.

    Raises:
        ConfigError: the edit is unknown; the message lists the choices.
    """
    if edit not in ATTRIBUTES:
        raise ConfigError(f"unknown edit {edit!r}; choose one of {', '.join(ATTRIBUTES)}")
    position = ATTRIBUTES.index(edit)
    targets = labels + 0
    if position in HAIR:
        for hair in HAIR:
            targets[:, hair] = float(hair == position)
    else:
        targets[:, position] = 1 - targets[:, position]
    return targets

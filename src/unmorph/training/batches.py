"""Random training batches and the edits that a deepfake is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unmorph.levels import LEVELS

#: Where batches are without being asked for elsewhere.
CPU = torch.device("cpu")


class Batches:
    """Endless random batches of faces, each photo once an epoch, half of them mirrored.

    Args:
        photos: (N, H, W, 3) uint8, memory-mapped or not.
        labels: (N, attributes) of 0 and 1.
        batch_size: faces a batch; the remainder of an epoch is dropped.
        generator: the only source of randomness. Restoring its state and `state` continues the
            sequence as if it had never stopped.
        device: where the batches are wanted; any but the CPU takes all photos at once.
    """

    def __init__(
        self,
        photos: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        generator: torch.Generator,
        device: torch.device = CPU,
    ) -> None:
        self.photos = photos
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.float32)).to(device)
        self.batch_size = batch_size
        self.generator = generator
        self._there = None if device.type == "cpu" else torch.from_numpy(photos).to(device)
        self._order = torch.empty(0, dtype=torch.int64)
        self._at = 0

    def state(self) -> dict[str, object]:
        """What a checkpoint must hold beside the generator's state."""
        return {"order": self._order, "at": self._at}

    def restore(self, state: dict[str, object]) -> None:
        """Go back to a saved `state`."""
        self._order, self._at = state["order"], state["at"]  # type: ignore[assignment]

    def next(self) -> tuple[Tensor, Tensor]:
        """Return faces (B, 3, H, W) in [-1,1], channels last in memory, and labels (B, A)."""
        if self._at + self.batch_size > len(self._order):
            self._order = torch.randperm(len(self.photos), generator=self.generator)
            self._at = 0
        indices = self._order[self._at : self._at + self.batch_size]
        self._at += self.batch_size
        mirrored = torch.rand(len(indices), generator=self.generator) < 0.5
        device = self.labels.device
        picked = self._picked(indices) if self._there is None else self._there[indices.to(device)]
        faces = picked.permute(0, 3, 1, 2).float() / LEVELS - 1
        faces = torch.where(mirrored.to(device)[:, None, None, None], faces.flip(3), faces)
        return faces.contiguous(memory_format=torch.channels_last), self.labels[indices.to(device)]

    def _picked(self, indices: Tensor) -> Tensor:
        # Sorted reads keep a memory-mapped file fast; the batch is put back in its own order.
        ranks = np.argsort(indices.numpy())
        picked = np.empty((len(ranks), *self.photos.shape[1:]), dtype=np.uint8)
        picked[ranks] = self.photos[indices.numpy()[ranks]]
        return torch.from_numpy(picked)


def random_edits(
    choices: Sequence[Tensor],
    generator: torch.Generator,
    shares: Sequence[float] | None = None,
) -> Tensor:
    """Draw one edit a face and return its targets (N, K).

    Args:
        choices: what each edit asks for, (N, K).
        generator: the source of randomness.
        shares: how often each is drawn, relative to one another; None: evenly.
    """
    stacked = torch.stack(list(choices), dim=1)
    faces, edits = stacked.shape[:2]
    if shares is None:
        drawn = torch.randint(edits, (faces,), generator=generator)
    else:
        drawn = torch.multinomial(torch.tensor(shares), faces, True, generator=generator)
    drawn = drawn.to(stacked.device)
    return stacked[torch.arange(faces, device=stacked.device), drawn]


def recolour(faces: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Change contrast and tint of each face of (N, 3, H, W) at random.

    Args:
        faces: in [-1,1]; so is what is returned.
        amount: the largest change of contrast, and four times that of each colour, as a share of
            full range.
        generator: the source of randomness.
    """

    contrast = 1 + uniform(faces, (1, 1, 1), amount, generator)
    tint = uniform(faces, (3, 1, 1), amount, generator) / 2
    return (faces * contrast + tint).clamp(-1, 1)


def uniform(
    faces: Tensor, shape: tuple[int, ...], most: float, generator: torch.Generator
) -> Tensor:
    """Draw numbers from -most to most for each face, (N, *shape), where the faces are."""
    drawn = torch.rand(len(faces), *shape, generator=generator)
    return (drawn * 2 - 1).to(faces.device) * most

"""What a trained StarGAN makes of faces, freed of what it fails to copy: lessons for another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.deepfakes.stargan import load_generator
from unmorph.errors import DataError
from unmorph.files import whole
from unmorph.layout import autocast, channels_last
from unmorph.levels import to_faces, to_photos
from unmorph.weights.store import sha256

#: The side at which a teacher edits, and how many faces at once.
SIZE, _BATCH = 128, 16

#: Edits of each face: each needs a pass, and the copy under the face's own labels one more.
EDITS = 2


def lesson(
    teacher: Callable[[Tensor, Tensor], Tensor],
    faces: Tensor,
    labels: Tensor,
    edits: Tensor,
    amplify: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return what edits change for a teacher, T(x, c) - T(x, own), amplified and added to x.

    Args:
        teacher: edits (N, 3, 128, 128) towards targets (N, 5).
        faces, labels: x in [-1,1] and what it shows, (N, 5) of 0 and 1.
        edits: positions in `unmorph.attributes.ATTRIBUTES`, (N, K).
        amplify: a factor for each domain, (5,).

    Returns:
        Targets (N, K, 5) and edited faces (N, K, 3, 128, 128) in [-1,1].
    """
    choices = torch.stack([edit_targets(labels, edit) for edit in ATTRIBUTES], dim=1)
    targets = choices[torch.arange(len(labels))[:, None], edits]
    copied = teacher(faces, labels)
    wanted = []
    for column in range(edits.shape[1]):
        change = teacher(faces, targets[:, column]) - copied
        factors = amplify[edits[:, column]][:, None, None, None]
        wanted.append((faces + factors * change).clamp(-1, 1))
    return targets, torch.stack(wanted, dim=1)


@torch.no_grad()
def taught(
    teacher: Path,
    photos: np.ndarray,
    labels: np.ndarray,
    amplify: tuple[float, ...],
    precision: str,
    cache: Path,
    advance: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (N, K, 5) and edited faces (N, K, 128, 128, 3) uint8, kept in ``cache``.

    Args:
        teacher: a trained generator's file.
        photos: (N, 128, 128, 3) uint8.
        labels: what they show, (N, 5) of 0 and 1.
        amplify: a factor for each domain.
        precision: ``fp32`` or ``bf16``, in which the teacher runs.
        cache: folder for what was made before.
        advance: called with the number of faces done since the last call.
    """
    seen = hashlib.sha256(photos.tobytes())
    seen.update(np.asarray(labels, np.float32).tobytes())
    key = f"{sha256(teacher)} {amplify} {precision} {seen.hexdigest()}"
    path = cache / f"lessons-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        network = channels_last(load_generator(teacher))
        generator = torch.Generator().manual_seed(0)
        edits = torch.stack(
            [torch.randperm(len(ATTRIBUTES), generator=generator)[:EDITS] for _ in photos]
        )
        edited = np.empty((len(photos), EDITS, SIZE, SIZE, 3), np.uint8)
        targets = torch.empty(len(photos), EDITS, len(ATTRIBUTES))
        for start in range(0, len(photos), _BATCH):
            some = slice(start, start + _BATCH)
            faces = torch.from_numpy(to_faces(photos[some]))
            shown = torch.from_numpy(np.asarray(labels[some], np.float32))
            with autocast(precision):
                targets[some], wanted = lesson(
                    network, faces, shown, edits[some], torch.tensor(amplify)
                )
            edited[some] = to_photos(wanted.numpy())
            advance(len(faces))
        with whole(path, DataError) as partial, partial.open("wb") as file:
            np.savez(file, targets=targets.numpy(), edited=edited)
    with np.load(path) as saved:
        return saved["targets"], saved["edited"]


def own_labels(count: int) -> int:
    """Return how many of a batch ask for the labels that the faces have: a quarter."""
    return count // 4


class Lessons:
    """Random batches of a teacher's lessons; see `taught` for the arguments."""

    def __init__(
        self,
        teacher: Path,
        photos: np.ndarray,
        labels: np.ndarray,
        amplify: tuple[float, ...],
        precision: str,
        cache: Path,
    ) -> None:
        self.photos = photos
        self.labels = torch.from_numpy(np.asarray(labels, np.float32))
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("lessons", total=len(photos))
            targets, self.edited = taught(
                teacher,
                photos,
                labels,
                amplify,
                precision,
                cache,
                lambda done: bar.advance(task, done),
            )
        self.targets = torch.from_numpy(targets)

    def next(
        self, count: int, size: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return faces (N, 3, size, size), their labels, targets (N, 5) and the faces edited so.

        The first (`own_labels`) ask for the labels that the faces have, and are to be left as they
        are; half are mirrored.
        """
        which = torch.randint(len(self.photos), (count,), generator=generator)
        edit = torch.randint(EDITS, (count,), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        pictures = np.stack([self.photos[which], self.edited[which, edit]])
        both = torch.from_numpy(to_faces(pictures)).flatten(0, 1)
        both = torch.where(mirrored.repeat(2)[:, None, None, None], both.flip(3), both)
        both = F.avg_pool2d(both, SIZE // size).contiguous(memory_format=torch.channels_last)
        faces, wanted = both.chunk(2)
        labels, targets = self.labels[which], self.targets[which, edit]
        own = slice(own_labels(count))
        targets[own], wanted[own] = labels[own], faces[own]
        return faces, labels, targets, wanted

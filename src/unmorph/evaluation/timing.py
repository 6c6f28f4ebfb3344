"""How long each defense takes for a face (the paper's inference efficiency)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmorph.datasets.base import FaceDataset
from unmorph.defenses import Defense
from unmorph.errors import DataError
from unmorph.evaluation.environment import circumstances, now
from unmorph.evaluation.record import MethodTime, TimingRecord, is_current
from unmorph.evaluation.run import Labeller, describe_faces, labelled_by, load_batch
from unmorph.evaluation.summary import summarise


def time_defenses(
    methods: Sequence[tuple[Defense, Mapping[str, Any]]],
    dataset: FaceDataset,
    *,
    size: int,
    about_dataset: Mapping[str, Any],
    about_deepfake: Mapping[str, Any],
    labeller: Labeller | None = None,
    budget: float | None = None,
    device: str = "cpu",
    compiled: bool = False,
    on_face: Callable[[], None] = lambda: None,
) -> TimingRecord:
    """Time defenses one after the other, face by face, each warmed up with one face.

    Reading photos and labels is not counted.

    Args:
        methods: each defense, and what a record says about it.
        dataset: the faces, all of which are protected.
        size: side of the faces in pixels.
        labeller: fills in present labels where the set has none.
        budget: seconds after which a method is cut short; it always gets one face, and the record
            says how many it got.
        device: where the defenses run.
        compiled: whether torch compiles the deepfake; the first face, which is not timed, waits.
        on_face: called after each face.

    Raises:
        DataError: the set is empty, or a photo cannot be read.
    """
    if not len(dataset):
        raise DataError(f"{dataset.source.path}: no face to time")
    made = circumstances(device, compiled)
    batches = [
        load_batch(dataset, range(index, index + 1), size, labeller, device)
        for index in range(len(dataset))
    ]
    found = []
    for defense, method in methods:
        _seconds(defense, *batches[0], device)
        seconds: list[float] = []
        for batch in batches:
            if seconds and budget is not None and sum(seconds) >= budget:
                break
            seconds.append(_seconds(defense, *batch, device))
            on_face()
        found.append(MethodTime(dict(method), summarise(np.array(seconds))))
    return TimingRecord(
        **_about(dataset, size, about_dataset, about_deepfake, labeller, budget),
        methods=found,
        created=now(),
        **made,
    )


def is_timed(
    path: Path,
    methods: Sequence[tuple[Defense, Mapping[str, Any]]],
    dataset: FaceDataset,
    *,
    size: int,
    about_dataset: Mapping[str, Any],
    about_deepfake: Mapping[str, Any],
    labeller: Labeller | None = None,
    budget: float | None = None,
    device: str = "cpu",
    compiled: bool = False,
) -> bool:
    """Return whether a file is the record of such a run, on whatever processor."""
    about = _about(dataset, size, about_dataset, about_deepfake, labeller, budget)
    timed = [{"defense": dict(method)} for _, method in methods]
    machine = {"device": device, "compiled": compiled or None}
    return is_current(path, "timing", {**about, "machine": machine, "methods": timed})


def _about(
    dataset: FaceDataset,
    size: int,
    about_dataset: Mapping[str, Any],
    about_deepfake: Mapping[str, Any],
    labeller: Labeller | None,
    budget: float | None,
) -> dict[str, Any]:
    """Return what a record says before anything is timed."""
    settings = {"budget": budget, "size": size, "batch_size": 1, "precision": "float32"}
    settings |= labelled_by(labeller)
    return {
        "dataset": describe_faces(dataset, len(dataset), about_dataset),
        "deepfake": dict(about_deepfake),
        "settings": settings,
    }


@torch.no_grad()
def _seconds(defense: Defense, faces: Tensor, labels: Tensor | None, device: str) -> float:
    start = time.perf_counter()
    defense.protect(faces, labels)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start

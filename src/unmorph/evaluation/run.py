"""Run a deepfake over faces with and without a defense and record what it does to them.

With x a face, x_adv the protected face and G an edit of the deepfake, the comparisons are

- ``input``: x with x_adv (the paper's table 1),
- ``output``: x_adv with G(x_adv) (table 2),
- ``total``: x with G(x_adv) (table 3),
- ``unprotected``: x with G(x) (table 2, "no defense"),
- ``edits``: G(x) with G(x_adv), which a defense by distortion drives apart (equation 1); L2 alone,
- ``picture`` and ``picture_unprotected``: the picture that a targeted defense drives edits to, with
  G(x_adv) and with G(x); L2 alone.

Beside them stand ``own_labels`` (x with G(x) where the edit asks for the labels that x has: the
deepfake's own reconstruction error), ``suppression`` and ``dsr`` (`unmorph.metrics.suppression`;
``suppression_fixed`` counts the pairs that move by 0.01 however subtle the deepfake's edits are),
``edit_success`` by an attribute judge, and ``judge``: how often the judge agrees with the labels of
untouched faces.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmorph import metrics
from unmorph.attributes import ATTRIBUTES, are_attributes
from unmorph.channels.batches import own_seeds, send
from unmorph.channels.codecs import Channel
from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, DataError, first_few
from unmorph.evaluation.environment import circumstances, now
from unmorph.evaluation.measures import Measure, load_measures, measure_weights
from unmorph.evaluation.record import (
    Figure,
    Record,
    is_current,
    joined,
)
from unmorph.evaluation.summary import summarise
from unmorph.files import write_whole
from unmorph.levels import to_faces
from unmorph.metrics.suppression import MOVED_THRESHOLD, STRICT_SUPPRESSION

#: Seconds between two writes of the progress file.
SAVE_EVERY = 30.0

Arrays = dict[str, NDArray[np.float32]]


class AlreadyMeasuredError(Exception):
    """The record of a run is there already, and nothing was measured."""


class Deepfake(Protocol):
    """What is evaluated: a generator with named edits."""

    @property
    def edits(self) -> tuple[str, ...]: ...

    @property
    def size(self) -> int:
        """Side of the faces in pixels."""

    def targets(self, edit: str, labels: Tensor, /) -> Tensor:
        """Return what an edit asks for, given the present labels."""

    def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
        """Edit faces towards target labels (N, 5), or by name where edits are no attributes."""


@dataclass(frozen=True)
class Subject:
    """Deepfake, defense and judge of one run, with what the record says about them.

    Attributes:
        deepfake: takes and returns face batches.
        defense: a face batch and its present labels (None where it has none) to the protected
            faces, as `unmorph.defenses.Defense.protect` does it.
        judge: a face batch to attribute logits (N, 5), or None.
        about: the record's entries ``deepfake``, ``defense`` and ``judge``.
        compiled: whether torch compiles the deepfake.
        picture: a face batch to t, where the defense drives edits to a given picture; else None.
        code: tells the code of deepfake and defense from any other.
    """

    deepfake: Deepfake
    defense: Callable[[Tensor, Tensor | None], Tensor]
    judge: Callable[[Tensor], Tensor] | None
    about: Mapping[str, Any]
    compiled: bool = False
    picture: Callable[[Tensor], Tensor] | None = None
    code: str = ""


@dataclass(frozen=True)
class Labeller:
    """Reads present labels off faces, where a set has none.

    Attributes:
        labels: a face batch to labels (N, 5) of 0 and 1.
        about: the file and SHA-256 of its weights, for the record.
    """

    labels: Callable[[Tensor], Tensor]
    about: Mapping[str, str]

    def __call__(self, faces: Tensor) -> Tensor:
        return self.labels(faces)


@torch.no_grad()
def measure_batch(
    subject: Subject,
    faces: Tensor,
    labels: Tensor | None,
    measures: Mapping[str, Measure],
    channel: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the figures of one face batch by ``comparison/metric``, each (N,) or (N, edits).

    A channel changes faces and protected faces alike before the deepfake gets them; then every
    comparison but ``input`` is of what arrives.
    """

    def prepare(batch: Tensor) -> dict[str, Any]:
        return {name: measure.prepare(batch) for name, measure in measures.items()}

    def compare(first: dict[str, Any], second: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
        for name, measure in measures.items():
            yield name, measure.compare(first[name], second[name])

    deepfake, judge = subject.deepfake, subject.judge
    protected = subject.defense(faces, labels)
    unchanged = torch.equal(protected, faces)
    original, shielded = prepare(faces), prepare(protected)
    found = {f"input/{name}": values for name, values in compare(original, shielded)}
    if channel is not None:
        faces, protected = channel(faces), channel(protected)
        original, shielded = prepare(faces), prepare(protected)
    columns: dict[str, list[Tensor]] = defaultdict(list)
    untouched = judge(faces) if judge else None
    for edit in deepfake.edits:
        request: Tensor | str = edit
        if edit in ATTRIBUTES and labels is not None:
            request = deepfake.targets(edit, labels)
        edited = deepfake.edit(faces, request)
        edited_shielded = edited if unchanged else deepfake.edit(protected, request)
        after, after_shielded = prepare(edited), prepare(edited_shielded)
        for comparison, first, second in (
            ("unprotected", original, after),
            ("output", shielded, after_shielded),
            ("total", original, after_shielded),
        ):
            for name, values in compare(first, second):
                columns[f"{comparison}/{name}"].append(values)
        columns["edits/l2"].append(metrics.l2(edited, edited_shielded))
        if subject.picture is not None:
            target = subject.picture(faces)
            columns["picture/l2"].append(metrics.l2(target, edited_shielded))
            columns["picture_unprotected/l2"].append(metrics.l2(target, edited))
        if judge is not None and untouched is not None and isinstance(request, Tensor):
            for name, logits in (
                ("untouched", untouched),
                ("unprotected", judge(edited)),
                ("protected", judge(edited_shielded)),
            ):
                success = metrics.edit_success(logits, request, edit)
                columns[f"edit_success/{name}"].append(success)
            if labels is not None:
                position = ATTRIBUTES.index(edit)
                agrees = (untouched[:, position] > 0) == (labels[:, position] > 0.5)
                columns["judge/agreement"].append(agrees.float())
    found.update({name: torch.stack(values, dim=1) for name, values in columns.items()})
    if labels is not None:
        rebuilt = deepfake.edit(faces, labels)
        found["own_labels/l2"] = metrics.l2(faces, rebuilt)
        found["own_labels/psnr"] = metrics.psnr(faces, rebuilt)
    return found


def evaluate(
    subject: Subject,
    dataset: FaceDataset,
    *,
    about_dataset: Mapping[str, Any],
    metric_names: tuple[str, ...],
    labeller: Labeller | None = None,
    channel: Channel | None = None,
    batch_size: int = 16,
    limit: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    present: Path | None = None,
    progress_file: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Record:
    """Evaluate a defense over a set of faces, in float32 and without gradients.

    Args:
        subject: deepfake, defense and judge.
        dataset: the faces; labels come from it where it has them, else from ``labeller``.
        about_dataset: what the record says of the set beside its count and file hashes.
        metric_names: as `unmorph.evaluation.measures.parse_measures` returns them.
        labeller: reads the present labels where they are needed and the set has none.
        channel: what faces and protected faces go through on their way to the deepfake, in 8 bits.
        limit: only the first so many faces.
        device: where torch runs.
        seed: of the channel; whoever built the defense used it too.
        present: a file that may be the record of this very run; if so, nothing is measured.
        progress_file: kept beside the output while the run lasts, so that a stopped run goes on
            where it was; removed at the end by the caller.
        on_progress: called with the faces done and in all.

    Raises:
        AlreadyMeasuredError: the record is ``present``.
        ConfigError: the deepfake's edits need labels and there are none, or the progress file
            belongs to a run with other options.
        DataError: photos cannot be read, which is found out before anything is measured.
        WeightsError: a metric's weights cannot be had.
    """
    labelled = are_attributes(subject.deepfake.edits)
    labeller = chosen_labeller(subject.deepfake, dataset, labeller)
    if labelled and dataset.labels is None and labeller is None:
        raise ConfigError(
            f"{dataset.name} has no attribute labels, and the deepfake needs them; give a labeller"
        )
    size = subject.deepfake.size
    total = len(dataset) if limit is None else min(limit, len(dataset))
    settings = {
        "metrics": list(metric_names),
        "batch_size": batch_size,
        "limit": limit,
        "seed": seed,
        "size": size,
        "labels": _label_source(labelled, dataset),
        **labelled_by(labeller),
        "precision": "float32",
        **describe_channel(channel),
    }
    about_faces = describe_faces(dataset, total, about_dataset)
    refuse_present(present, subject, about_faces, settings)
    refuse_unreadable(dataset, total)
    made = circumstances(device, subject.compiled)
    progress = Progress(progress_file, progress_key(subject, about_faces, settings, made), made)
    measures = load_measures(metric_names, torch.device(device))
    start = time.monotonic()
    try:
        for first in range(progress.done, total, batch_size):
            indices = range(first, min(first + batch_size, total))
            faces, labels = load_batch(dataset, indices, size, labeller, device)
            # Every face its own noise and jitter, which its protected twin shares.
            sent = partial(send, channel, seeds=own_seeds(seed, indices)) if channel else None
            found = measure_batch(subject, faces, labels if labelled else None, measures, sent)
            progress.add({name: values.float().cpu().numpy() for name, values in found.items()})
            on_progress(progress.done, total)
    finally:
        progress.save()
    if progress.done == 0:
        raise DataError(f"{dataset.source.path}: no face to evaluate; raise --limit")
    seconds = progress.seconds + time.monotonic() - start
    return assemble(subject, about_faces, settings, progress.arrays(), progress.made, seconds)


def progress_key(
    subject: Subject,
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    made: Mapping[str, Any],
) -> str:
    """Return what a stopped run must share to go on: all that its figures depend on.

    The commit is not among it, since most change nothing here; the record names all that took part.
    """
    machine = {name: made["machine"].get(name) for name in ("device", "compiled")}
    parts = [settings, about, dict(subject.about), subject.code, machine, made["versions"]]
    return json.dumps(parts, sort_keys=True)


def refuse_present(
    path: Path | None, subject: Subject, about: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Refuse to measure what a file, if any, is the record of.

    Raises:
        AlreadyMeasuredError: it is of these faces, networks and options.
    """
    intended = {**subject.about, "dataset": about, "settings": settings}
    if subject.about["defense"].get("options", {}).get("mode") == "distortion":
        # What it is after; older records lack it.
        intended["figures"] = {"edits": {"l2": {}}}
    if path is not None and is_current(path, "evaluation", intended):
        raise AlreadyMeasuredError(path)


def refuse_unreadable(dataset: FaceDataset, limit: int) -> None:
    """Refuse to begin a long run that would stop at a photo that cannot be decoded.

    Raises:
        DataError: there are some among the first ``limit``; the message names them.
    """
    if wrong := dataset.unreadable(limit):
        raise DataError(
            f"{dataset.source.path}: {len(wrong)} of its photos cannot be read: "
            f"{first_few(wrong)}; mend or remove them (`unmorph evaluate --skip-unreadable` leaves "
            "them out)"
        )


def assemble(
    subject: Subject,
    about: dict[str, Any],
    settings: dict[str, Any],
    arrays: Arrays,
    made: Mapping[str, Any],
    seconds: float,
) -> Record:
    """Return the record of a run from its per-image figures.

    Args:
        about: what the record says of the faces.
        settings: those of the run; the threshold of movement and the weights of the metrics'
            networks are added.
        arrays: as `measure_batch` names them.
        made: machine, versions and commit.
        seconds: what the run took.
    """
    movement = torch.from_numpy(arrays["unprotected/l2"])
    found = {
        "moved_threshold": metrics.moved_threshold(movement),
        "metric_weights": measure_weights(settings["metrics"]),
    }
    return Record(
        dataset=about,
        deepfake=dict(subject.about["deepfake"]),
        defense=dict(subject.about["defense"]),
        judge=subject.about["judge"],
        settings={**settings, **found},
        created=now(),
        **made,
        seconds=round(seconds, 1),
        figures=figures(arrays, subject.deepfake.edits),
    )


def describe_faces(dataset: FaceDataset, count: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of the first ``count`` faces of a set, beside what is given."""
    return {
        **about,
        "count": count,
        "available": len(dataset),
        **describe_files(dataset, count),
    }


def describe_files(
    dataset: FaceDataset, count: int | None = None, read: int | None = None
) -> dict[str, Any]:
    """Return what a record says of the files that the first ``count`` photos, or all, come from.

    Args:
        read: how many are read, where those are fewer.
    """
    names = dataset.names[: count if read is None else read]
    return {
        "files": {dataset.source.path.name: dataset.source.sha256(names)},
        "photos_sha256": dataset.names_sha256(count),
        **dataset.about_lists(),
    }


def load_batch(
    dataset: FaceDataset,
    indices: range,
    size: int,
    labeller: Labeller | None = None,
    device: str = "cpu",
) -> tuple[Tensor, Tensor | None]:
    """Return faces (N, 3, size, size) and labels (N, 5) of the set, else of the labeller."""
    photos = np.stack([dataset.face(index, size) for index in indices])
    faces = torch.from_numpy(to_faces(photos)).to(device)
    if dataset.labels is not None:
        return faces, torch.from_numpy(dataset.labels[indices.start : indices.stop]).to(device)
    return faces, labeller(faces) if labeller else None


def describe_channel(channel: Channel | None) -> dict[str, Any]:
    """Return what a record's settings say of a channel; ``own_draws``: as `own_seeds`."""
    if channel is None:
        return {"channel": "none"}
    return {"channel": channel.name, **({"own_draws": True} if channel.draws else {})}


def wants_labeller(deepfake: Deepfake, dataset: FaceDataset) -> bool:
    """Return whether a run has a use for a labeller: its edits are attributes, its set has none."""
    return are_attributes(deepfake.edits) and dataset.labels is None


def chosen_labeller(
    deepfake: Deepfake, dataset: FaceDataset, labeller: Labeller | None
) -> Labeller | None:
    """Return the labeller if a run has a use for it."""
    return labeller if wants_labeller(deepfake, dataset) else None


def labelled_by(labeller: Labeller | None) -> dict[str, Any]:
    """Return what a record's settings say of a labeller; nothing where there is none."""
    return {"labeller": dict(labeller.about)} if labeller else {}


def _label_source(labelled: bool, dataset: FaceDataset) -> str:
    if not labelled:
        return "none"
    return "classifier" if dataset.labels is None else "publisher"


def figures(arrays: Arrays, edits: tuple[str, ...]) -> dict[str, dict[str, Figure]]:
    """Summarise per-image figures, and derive DSR and suppression from them."""
    movement = torch.from_numpy(arrays["unprotected/l2"])
    residue = torch.from_numpy(arrays["output/l2"])
    values = torch.where(movement > 0, metrics.suppression(movement, residue), 0)
    strict = (values >= STRICT_SUPPRESSION).float()
    pairs = {
        "suppression": metrics.moved(movement),
        "suppression_fixed": movement >= MOVED_THRESHOLD,
    }
    derived = {
        "dsr/protected": metrics.dsr(residue),
        "dsr/unprotected": metrics.dsr(movement),
        **{f"{name}/counted": counted.float() for name, counted in pairs.items()},
    }
    every = {**arrays, **{name: value.numpy() for name, value in derived.items()}}
    tables: dict[str, dict[str, Figure]] = defaultdict(dict)
    for name, array in every.items():
        comparison, metric = name.split("/")
        tables[comparison][metric] = _figure(array, edits)
    for name, counted in pairs.items():
        tables[name]["s"] = _figure(values.numpy(), edits, counted.numpy())
        tables[name]["strict_dsr"] = _figure(strict.numpy(), edits, counted.numpy())
    return dict(tables)


def _figure(
    array: NDArray[np.float32],
    edits: tuple[str, ...],
    counted: NDArray[np.bool_] | None = None,
) -> Figure:
    if array.ndim == 1:
        return Figure(summarise(array), {})
    mask = np.ones(array.shape, dtype=bool) if counted is None else counted
    by_edit = {
        edit: summarise(array[:, column], mask[:, column]) for column, edit in enumerate(edits)
    }
    return Figure(summarise(array, mask), by_edit)


class Progress:
    """The per-image figures so far, in memory and now and then in a file.

    Args:
        path: the file; None keeps none.
        key: as `progress_key` returns it.
        made: machine, versions and commit of the run that begins or goes on now; the attribute of
            that name has the commits of its earlier parts too.

    Raises:
        ConfigError: the file belongs to another run, or is damaged.
    """

    def __init__(self, path: Path | None, key: str, made: Mapping[str, Any]) -> None:
        self.path, self.key, self.made = path, key, made
        self.done, self.seconds = 0, 0.0
        self._batches: list[Arrays] = []
        self._started = self._saved = time.monotonic()
        if path is None or not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as content:
                stored = {name: content[name] for name in content.files}
            same = stored.pop("key").item() == key
            self.seconds = stored.pop("seconds").item()
            commits = stored.pop("commit").item()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path}: damaged; remove it to start over ({error})") from error
        if not same:
            raise ConfigError(
                f"{path}: belongs to a run with other options or other code; remove it to start "
                "over, or repeat the options of that run"
            )
        self.made = {**made, "commit": joined([commits, made["commit"]])}
        if stored:
            self._batches.append(stored)
            self.done = len(next(iter(stored.values())))

    def add(self, batch: Arrays) -> None:
        """Append one batch; the file is written when `SAVE_EVERY` seconds have passed."""
        self._batches.append(batch)
        self.done += len(next(iter(batch.values())))
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self.save()

    def arrays(self) -> Arrays:
        """Return all figures so far, faces along the first axis."""
        names = self._batches[0] if self._batches else {}
        return {name: np.concatenate([batch[name] for batch in self._batches]) for name in names}

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self._saved = time.monotonic()
        if self.path is None or self.done == 0:
            return
        buffer = io.BytesIO()
        seconds = self.seconds + self._saved - self._started
        content: dict[str, Any] = {
            "key": np.array(self.key),
            "seconds": np.array(seconds),
            "commit": np.array(self.made["commit"] or ""),
            **self.arrays(),
        }
        np.savez(buffer, **content)
        write_whole(self.path, buffer.getvalue(), DataError)

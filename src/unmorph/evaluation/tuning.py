"""Search an iterative defense's options on a validation set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from unmorph.datasets.base import FaceDataset
from unmorph.errors import DataError
from unmorph.evaluation.environment import now
from unmorph.evaluation.record import (
    Record,
    TuningRecord,
    is_current,
    joined,
    key_of,
    read_record,
    write_record,
)
from unmorph.evaluation.run import (
    AlreadyMeasuredError,
    Labeller,
    Subject,
    chosen_labeller,
    describe_faces,
    evaluate,
    labelled_by,
)

#: What is kept of each trial: name, comparison, metric.
FIGURES = (
    ("s", "suppression", "s"),
    ("strict_dsr", "suppression", "strict_dsr"),
    ("output_l2", "output", "l2"),
    ("total_l2", "total", "l2"),
    ("input_l2", "input", "l2"),
    ("input_psnr", "input", "psnr"),
)


def combinations(grid: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return every choice of one value for each option."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def tune(
    open_subject: Callable[[Mapping[str, str]], Subject],
    grid: Mapping[str, Sequence[str]],
    dataset: FaceDataset,
    *,
    about_dataset: Mapping[str, Any],
    labeller: Labeller | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    seed: int = 0,
    on_trial: Callable[[dict[str, Any]], None] = lambda trial: None,
    finished: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TuningRecord:
    """Try every combination; the best is the trial with the highest mean suppression.

    The other arguments are those of `unmorph.evaluation.run.evaluate`.

    Args:
        open_subject: builds deepfake and defense for one combination.
        grid: for each option, the values to try.
        dataset: a validation set, never the test set.
        on_trial: called with each trial.
        finished: a folder that keeps the trials that are done while the search lasts, so that a
            stopped one goes on with the next; removed at the end by the caller.
        on_progress: called with the faces done and in all, over all trials.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: a photo cannot be read, or the deepfake does nothing to any of them.
    """
    trials: list[dict[str, Any]] = []
    records: list[Record] = []
    choices = combinations(grid)
    for place, options in enumerate(choices):
        subject = open_subject(options)
        # Found again by the same code alone.
        kept = None if finished is None else finished / f"{place}-{subject.code[:16]}.json"
        try:
            record = evaluate(
                subject,
                dataset,
                about_dataset=about_dataset,
                metric_names=("l2", "psnr"),
                labeller=labeller,
                batch_size=batch_size,
                device=device,
                seed=seed,
                present=kept,
                on_progress=partial(_over_all, on_progress, place, len(choices)),
            )
        except AlreadyMeasuredError as done:
            record = cast(Record, read_record(str(done)))
        else:
            if kept is not None:
                write_record(record, kept)
        records.append(record)
        if record.mean("suppression", "s") is None:
            raise DataError(f"{dataset.source.path}: the deepfake moves none of these faces")
        figures = {name: record.mean(table, metric) for name, table, metric in FIGURES}
        error = record.figures["suppression"]["s"].overall.standard_error
        trials.append({"options": options, **figures, "s_error": error, "seconds": record.seconds})
        on_trial(trials[-1])
    first = records[0]
    return TuningRecord(
        dataset=first.dataset,
        deepfake=first.deepfake,
        defense=_defense([record.defense for record in records], grid),
        settings={**first.settings, "grid": _listed(grid)},
        trials=trials,
        best=max(trials, key=lambda trial: trial["s"]),
        created=now(),
        machine=first.machine,
        versions=first.versions,
        commit=joined(record.commit for record in records),
    )


def is_tuned(
    path: Path,
    open_subject: Callable[[Mapping[str, str]], Subject],
    grid: Mapping[str, Sequence[str]],
    dataset: FaceDataset,
    *,
    about_dataset: Mapping[str, Any],
    labeller: Labeller | None = None,
    seed: int = 0,
) -> bool:
    """Return whether a file is the record of such a search; see `tune`."""
    subjects = [open_subject(options) for options in combinations(grid)]
    used = chosen_labeller(subjects[0].deepfake, dataset, labeller)
    intended = {
        "dataset": describe_faces(dataset, len(dataset), about_dataset),
        "deepfake": subjects[0].about["deepfake"],
        "defense": _defense([subject.about["defense"] for subject in subjects], grid),
        "settings": {**labelled_by(used), "grid": _listed(grid), "seed": seed},
    }
    return is_current(path, "tuning", intended)


def _over_all(
    on_progress: Callable[[int, int], None], place: int, trials: int, done: int, total: int
) -> None:
    on_progress(place * total + done, trials * total)


def _defense(defenses: Sequence[Mapping[str, Any]], grid: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the record says of the trials' defense.

    ``shared_options`` are those that are not tried, ``generators`` those that the trials of a
    refinement start from.
    """
    options = defenses[0].get("options", {})
    found = {key_of(of["generator"]): of["generator"] for of in defenses if "generator" in of}
    generators = {"generators": list(found.values())} if found else {}
    return {
        "name": defenses[0]["name"],
        "epsilon": defenses[0]["epsilon"],
        "shared_options": {key: value for key, value in options.items() if key not in grid},
        **generators,
    }


def _listed(grid: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {key: list(values) for key, values in grid.items()}

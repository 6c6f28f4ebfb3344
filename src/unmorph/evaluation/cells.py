"""What the cells of a report say: figures with their errors, and the names of what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unmorph.evaluation.document import Table
from unmorph.evaluation.record import AnyRecord, Record
from unmorph.evaluation.summary import Summary

#: The sets that the paper has, in its order.
SET_NAMES = {"celeba": "CelebA", "lfw": "LFW", "ffhq": "FFHQ"}

#: The column of the paper's DSR (`metrics.DSR_THRESHOLD`, which needs torch).
DSR_HEADING = "DSR at 0.05"

#: The cell of what was not measured.
MISSING = "-"


def small(value: float, decimals: int) -> str:
    """Format a number that may lie below the last decimal."""
    below = 0 < abs(value) < 10**-decimals
    return f"{value:.0e}" if below else f"{value:.{decimals}f}"


def number(summary: Summary | None, decimals: int) -> str:
    """Return a mean ± its standard error."""
    if summary is None or summary.mean is None:
        return MISSING
    mean = small(summary.mean, decimals)
    if summary.standard_error is None:
        return mean
    if "e" in mean:  # as many digits after the point would be naughts
        return f"{mean} ± {summary.standard_error:.0e}"
    return f"{mean} ± {summary.standard_error:.{decimals}f}"


def percentage(summary: Summary | None) -> str:
    """Return a mean ± its standard error, both as percentages."""
    if summary is None or summary.mean is None:
        return MISSING
    if summary.standard_error is None:
        return f"{100 * summary.mean:.1f} %"
    return f"{100 * summary.mean:.1f} ± {100 * summary.standard_error:.1f} %"


def overall(record: Record, comparison: str, metric: str) -> Summary | None:
    """Return a figure over all faces and edits; None where the run did not measure it."""
    figure = record.figures.get(comparison, {}).get(metric)
    return figure.overall if figure else None


def value(record: Record, comparison: str, metric: str, decimals: int) -> str:
    """Return a figure over all faces and edits as a number."""
    return number(overall(record, comparison, metric), decimals)


def share(record: Record, comparison: str, metric: str) -> str:
    """Return a figure over all faces and edits as a percentage."""
    return percentage(overall(record, comparison, metric))


def set_name(name: str) -> str:
    """Return how a set of faces is written."""
    return SET_NAMES.get(name, name)


def faces(dataset: Mapping[str, Any]) -> str:
    """Say which faces of a set were taken, and how many."""
    part, count = named(dataset), _count(dataset)
    return f"{part} ({count})" if part else count


def set_and_faces(record: AnyRecord) -> str:
    """Name a set of faces, and say which of them were taken, and how many."""
    words = [set_name(record.dataset["name"]), named(record.dataset)]
    return f"{' '.join(filter(None, words))} ({_count(record.dataset)})"


def named(dataset: Mapping[str, Any]) -> str:
    """Name the part of a set that was taken; the one to test on goes without saying."""
    split, subset = dataset.get("split"), dataset.get("subset")
    return " ".join(filter(None, ("" if split == "test" else split, subset)))


def _count(dataset: Mapping[str, Any]) -> str:
    left_out = dataset.get("left_out")
    unread = f", {len(left_out)} unreadable left out" if left_out else ""
    return f"{dataset['count']:,}{unread}"


def is_learned(defense: Mapping[str, Any]) -> bool:
    """Whether it is a trained generator: only those are files."""
    return "sha256" in defense


def weights(participant: Mapping[str, Any]) -> str:
    """Return the first digits of the SHA-256 of what a record says was run, where it is a file.

    Of a refinement, those of the generator that it starts from.
    """
    file = participant.get("generator", participant)
    return str(file.get("sha256", ""))[:12] or MISSING


def commits(record: AnyRecord) -> str:
    """Return the start of a record's commits, and whether the code had been changed since."""
    found = []
    for text in (record.commit or MISSING).split(", "):
        commit, dirty, _ = text.partition("-dirty")
        found.append(f"{commit[:12]}{dirty}")
    return ", ".join(found)


def filled(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table without the columns in which no row has anything."""
    kept = [i for i in range(len(headings)) if any(row[i] != MISSING for row in rows)]
    return Table(tuple(headings[i] for i in kept), [[row[i] for i in kept] for row in rows])

"""The project's aims, and which of them the records meet."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unmorph.evaluation import paper
from unmorph.evaluation.cells import MISSING, SET_NAMES, faces, set_name
from unmorph.evaluation.comparison import TABLES, is_papers, is_whole, paper_method
from unmorph.evaluation.document import Section, Table
from unmorph.evaluation.record import Record, TimingRecord, key_of, method_name


@dataclass(frozen=True)
class Aim:
    """A bound on one figure of a whole set.

    Attributes:
        dataset: the set's name.
        title: what is bounded.
        measure: the figure of a record; None where the run did not measure it.
        meets: whether a figure (first) keeps to the bound (second).
        bound: in the unit, as the figure is.
        unit: follows the number.
        decimals: of the figure as it is shown; what decides is not rounded.
    """

    dataset: str
    title: str
    measure: Callable[[Record], float | None]
    meets: Callable[[float, float], bool]
    bound: float
    unit: str
    decimals: int


def _mean(comparison: str, metric: str, scale: float = 1) -> Callable[[Record], float | None]:
    def measure(record: Record) -> float | None:
        mean = record.mean(comparison, metric)
        return None if mean is None else scale * mean

    return measure


def _left(record: Record) -> float | None:
    """Return the percentage of the edits' L2 that is left."""
    before, after = record.mean("unprotected", "l2"), record.mean("output", "l2")
    return 100 * after / before if before and after is not None else None


def _above_floor(record: Record) -> float | None:
    """Return how many of a hundred more edits the judge sees than on untouched photos."""
    floor = record.mean("edit_success", "untouched")
    after = record.mean("edit_success", "protected")
    return None if floor is None or after is None else 100 * (after - floor)


_L2_LEFT = "table 2, L2 as a share of the unprotected one"

#: Every aim that is a bound on a figure.
AIMS = (
    Aim("celeba", "table 1, PSNR", _mean("input", "psnr"), operator.ge, 42.7, " dB", 2),
    Aim("celeba", "table 1, SSIM", _mean("input", "ssim"), operator.ge, 0.9887, "", 4),
    Aim("celeba", "table 1, LPIPS", _mean("input", "lpips"), operator.le, 0.0012, "", 6),
    Aim("celeba", _L2_LEFT, _left, operator.le, 4.1, " %", 2),
    Aim("celeba", "table 2, SSIM", _mean("output", "ssim"), operator.ge, 0.96, "", 4),
    Aim("celeba", "strict DSR", _mean("suppression", "strict_dsr", 100), operator.ge, 99, " %", 2),
    Aim(
        "celeba",
        "edits that the judge sees, above its floor on untouched photos",
        _above_floor,
        operator.le,
        3,
        " points",
        2,
    ),
    Aim("lfw", _L2_LEFT, _left, operator.le, 5, " %", 2),
    Aim("ffhq", _L2_LEFT, _left, operator.le, 8, " %", 2),
)

#: How many times as fast as PGD, tuned, of so many steps.
SPEED, PGD_STEPS = 1000, 100

#: Metrics of the protected face by which its quality is compared.
_QUALITY = ("psnr", "ssim", "lpips")

_NOTE = """\
What this project set out to reach, and what its generators do: bounds hold for whole sets, and what
is compared with PGD is so on the same faces. Met or missed is decided before figures are rounded.
The columns of tables 1 to 3 are the five that all three of the paper's have.
Beside tuned PGD an aim is met where a generator stops at least as much at a better PSNR, SSIM and
LPIPS, and open where it stops less and shows less."""


def aims_section(records: Sequence[Record], timings: Sequence[TimingRecord] = ()) -> list[Section]:
    """Return the aims with what each generator reaches; nothing where none has a whole set.

    Args:
        records: those of the paper's comparison.
        timings: where speeds come from.
    """
    generators = {
        key_of(record.defense): record.defense
        for record in records
        if record.dataset["name"] in SET_NAMES
        and is_papers(record)
        and is_whole(record)
        and paper_method(record.defense) == "generator"
    }
    if not generators:
        return []
    of_each = [[r for r in records if key_of(r.defense) == key] for key in generators]
    rows = [[_title(aim), *(_bounded(aim, of_one) for of_one in of_each)] for aim in AIMS]
    for name, shown in SET_NAMES.items():
        title = f"{shown}, tables 1 to 3: every column better than PGD's at the paper's setting"
        rows.append([title, *(_beside_pgd(_pair(of, records, name, _is_pgd)) for of in of_each)])
    for name, shown in SET_NAMES.items():
        title = f"{shown}, table 1: better than tuned PGD of {PGD_STEPS} steps that stops as much"
        pairs = (_pair(of, records, name, _is_tuned) for of in of_each)
        rows.append([title, *(_beside_tuned(pair) for pair in pairs)])
    title = f"at least {SPEED:,} times as fast as tuned PGD of {PGD_STEPS} steps"
    rows.append([title, *(_speed(defense, timings) for defense in generators.values())])
    headings = ("aim", *(method_name(defense) for defense in generators.values()))
    return [Section("Aims", _NOTE, Table(headings, rows))]


def _title(aim: Aim) -> str:
    least = "at least" if aim.meets is operator.ge else "at most"
    return f"{set_name(aim.dataset)}, {aim.title}: {least} {aim.bound:g}{aim.unit}"


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "missed"


def _bounded(aim: Aim, records: Sequence[Record]) -> str:
    whole = (r for r in records if is_whole(r) and r.dataset["name"] == aim.dataset)
    figures = [figure for record in whole if (figure := aim.measure(record)) is not None]
    if not figures:
        return MISSING
    shown = f"{figures[-1]:.{aim.decimals}f}{aim.unit}"
    return f"{shown}: {_verdict(aim.meets(figures[-1], aim.bound))}"


def _is_pgd(defense: Mapping[str, Any]) -> bool:
    return paper_method(defense) == "PGD"


def _is_tuned(defense: Mapping[str, Any]) -> bool:
    # As registered it is what the search on val found; how gradients are reckoned is no setting.
    return defense["name"] == "pgd" and not defense.get("changed", {}).keys() - {"precision"}


def _pair(
    ours: Sequence[Record],
    records: Sequence[Record],
    dataset: str,
    is_rival: Callable[[Mapping[str, Any]], bool],
) -> tuple[Record, Record] | None:
    """Return one of our records and a rival's of the same faces, as many as there are."""
    rivals = {r.dataset["photos_sha256"]: r for r in records if is_rival(r.defense)}
    pairs = [
        (record, rivals[record.dataset["photos_sha256"]])
        for record in ours
        if record.dataset["name"] == dataset and record.dataset["photos_sha256"] in rivals
    ]
    return max(pairs, key=lambda pair: pair[0].dataset["count"], default=None)


def _better(comparison: str, metric: str, ours: Record, theirs: Record) -> bool | None:
    """Return whether one figure of ours is better; None where it is not measured in both."""
    mine, other = ours.mean(comparison, metric), theirs.mean(comparison, metric)
    if mine is None or other is None:
        return None
    return mine > other if metric in paper.MORE_IS_BETTER else mine < other


def _beside_pgd(pair: tuple[Record, Record] | None) -> str:
    if pair is None:
        return MISSING
    better = {
        f"{table} {metric}": _better(comparison, metric, *pair)
        for comparison, (table, _) in TABLES.items()
        for metric in paper.METRICS
    }
    if None in better.values():
        return MISSING
    behind = [column for column, is_better in better.items() if not is_better]
    shown = f"{len(better) - len(behind)} of {len(better)}, {faces(pair[0].dataset)}"
    return f"{shown}: {_verdict(not behind)}" + (f" in {', '.join(behind)}" if behind else "")


def _beside_tuned(pair: tuple[Record, Record] | None) -> str:
    if pair is None:
        return MISSING
    ours, theirs = (record.mean("suppression", "s") for record in pair)
    better = [_better("input", metric, *pair) for metric in _QUALITY]
    if ours is None or theirs is None or None in better:
        return MISSING
    psnr = [record.mean("input", "psnr") for record in pair]
    shown = f"s {ours:.3f} beside {theirs:.3f}, {psnr[0]:.2f} dB beside {psnr[1]:.2f}"
    shown += f", {faces(pair[0].dataset)}"
    if ours < theirs and any(better):
        return f"{shown}: open"
    return f"{shown}: {_verdict(all(better))}"


def _speed(defense: Mapping[str, Any], timings: Sequence[TimingRecord]) -> str:
    for timing in timings:
        seconds = {
            ("tuned" if _is_tuned(method.defense) else method.defense.get("sha256")): mean
            for method in timing.methods
            if (mean := method.seconds.mean) is not None
        }
        if "tuned" in seconds and defense["sha256"] in seconds:
            times = seconds["tuned"] / seconds[defense["sha256"]]
            return f"{times:,.0f} times: {_verdict(times >= SPEED)}"
    return MISSING

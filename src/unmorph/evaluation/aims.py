"""The project's aims, and which of them the records meet."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unmorph.evaluation import paper
from unmorph.evaluation.cells import MISSING, SET_NAMES, faces, set_name
from unmorph.evaluation.comparison import (
    TABLES,
    changed_settings,
    is_papers,
    is_whole,
    paper_method,
)
from unmorph.evaluation.document import Section, Table
from unmorph.evaluation.record import Record, TimingRecord, keeps_epsilon, key_of, method_name


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

MET, MISSED = "met", "missed"

#: Metrics of the protected face by which its quality is compared.
_QUALITY = ("psnr", "ssim", "lpips")

_NOTE = """\
What this project set out to reach, and what its generators do, over whole sets; beside them a
generator with gradient steps, over the named subset. What is compared with PGD is so on the same
faces. Met or missed is decided before figures are rounded. The columns of tables 1 to 3 are the
five that all three of the paper's have; LBP maps, which are its figure 4, are not among them.
Beside tuned PGD, of whatever step size, an aim is met where ours stops at least as much, by s and
by the share of the edits' L2 that is left, at a better PSNR, SSIM and LPIPS, missed where PGD does,
and open where one stops more and the other shows less."""


def aims_section(records: Sequence[Record], timings: Sequence[TimingRecord] = ()) -> list[Section]:
    """Return the aims with what each generator reaches; nothing where none has a whole set.

    Args:
        records: those of the paper's comparison.
        timings: where speeds come from.
    """
    ours = _generators(records)
    if not ours:
        return []
    ours |= _refined(records)
    of_each = [[r for r in records if key_of(r.defense) == key] for key in ours]
    rows = [[_title(aim), *(_bounded(aim, of_one) for of_one in of_each)] for aim in AIMS]
    for name, shown in SET_NAMES.items():
        title = f"{shown}, tables 1 to 3: every column better than PGD's at the paper's setting"
        rows.append([title, *(_beside_pgd(_pairs(of, records, name, _is_pgd)) for of in of_each)])
    for name, shown in SET_NAMES.items():
        title = f"{shown}, table 1: better than tuned PGD of {PGD_STEPS} steps that stops as much"
        pairs = (_pairs(of, records, name, _is_tuned) for of in of_each)
        rows.append([title, *(_beside_tuned(found) for found in pairs)])
    title = f"at least {SPEED:,} times as fast as tuned PGD of {PGD_STEPS} steps"
    rows.append([title, *(_speed(defense, timings) for defense in ours.values())])
    headings = ("aim", *(method_name(defense) for defense in ours.values()))
    return [Section("Aims", _NOTE, Table(headings, rows))]


def _generators(records: Sequence[Record]) -> dict[str, Mapping[str, Any]]:
    """Return the paper's generators that were measured on a whole set, by what tells them apart."""
    return {
        key_of(record.defense): record.defense
        for record in records
        if record.dataset["name"] in SET_NAMES
        and is_papers(record)
        and is_whole(record)
        and paper_method(record.defense) == "generator"
    }


def _refined(records: Sequence[Record]) -> dict[str, Mapping[str, Any]]:
    """Return the refinements within the paper's epsilon that were measured on all of its sets."""
    sets: dict[str, set[str]] = defaultdict(set)
    found = {}
    for record in records:
        if "generator" in record.defense and is_papers(record) and keeps_epsilon(record.defense):
            key = key_of(record.defense)
            sets[key].add(record.dataset["name"])
            found[key] = record.defense
    return {key: defense for key, defense in found.items() if set(SET_NAMES) <= sets[key]}


def _title(aim: Aim) -> str:
    least = "at least" if aim.meets is operator.ge else "at most"
    return f"{set_name(aim.dataset)}, {aim.title}: {least} {aim.bound:g}{aim.unit}"


def _verdict(is_met: bool) -> str:
    return MET if is_met else MISSED


def _bounded(aim: Aim, records: Sequence[Record]) -> str:
    of_set = [record for record in records if record.dataset["name"] == aim.dataset]
    # Of a generator the whole set counts alone; no other was measured on one.
    counting = of_set if "generator" in records[0].defense else filter(is_whole, of_set)
    record = max(counting, key=lambda record: record.dataset["count"], default=None)
    figure = aim.measure(record) if record else None
    if record is None or figure is None:
        return MISSING
    where = "" if is_whole(record) else f", {faces(record.dataset)}"
    shown = f"{figure:.{aim.decimals}f}{aim.unit}{where}"
    return f"{shown}: {_verdict(aim.meets(figure, aim.bound))}"


def _is_pgd(defense: Mapping[str, Any]) -> bool:
    return paper_method(defense) == "PGD"


def _is_tuned(defense: Mapping[str, Any]) -> bool:
    # As registered it is what the search on val found; the size of its steps trades what it stops
    # for what it shows, and to count each edit by what it changes trades L2 for suppression.
    changed = changed_settings(defense).keys() - {"step_size", "relative"}
    return defense["name"] == "pgd" and not changed and keeps_epsilon(defense)


def _pairs(
    ours: Sequence[Record],
    records: Sequence[Record],
    dataset: str,
    is_rival: Callable[[Mapping[str, Any]], bool],
) -> list[tuple[Record, Record]]:
    """Return one of our records with each rival's of the same faces, as many as there are."""
    rivals: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if is_rival(record.defense):
            rivals[record.dataset["photos_sha256"]].append(record)
    met = [
        record
        for record in ours
        if record.dataset["name"] == dataset and record.dataset["photos_sha256"] in rivals
    ]
    mine = max(met, key=lambda record: record.dataset["count"], default=None)
    return [(mine, rival) for rival in rivals[mine.dataset["photos_sha256"]]] if mine else []


def _better(comparison: str, metric: str, ours: Record, theirs: Record) -> bool | None:
    """Return whether one figure of ours is better; None where it is not measured in both."""
    mine, other = ours.mean(comparison, metric), theirs.mean(comparison, metric)
    if mine is None or other is None:
        return None
    return mine > other if metric in paper.MORE_IS_BETTER else mine < other


def _beside_pgd(pairs: Sequence[tuple[Record, Record]]) -> str:
    if not pairs:
        return MISSING
    pair = pairs[-1]
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


def _beside_tuned(pairs: Sequence[tuple[Record, Record]]) -> str:
    """Return the pair that decides: one in which either is better in all."""
    shown = {verdict: text for pair in pairs for verdict, text in [_rivalled(*pair)]}
    return next((shown[verdict] for verdict in (MISSED, MET, "open") if verdict in shown), MISSING)


def _rivalled(ours: Record, theirs: Record) -> tuple[str, str]:
    """Return who is better, and the figures that say so."""
    mine, other = (record.mean("suppression", "s") for record in (ours, theirs))
    left, rest = _left(ours), _left(theirs)
    psnr = [record.mean("input", "psnr") for record in (ours, theirs)]
    better = [_better("input", metric, ours, theirs) for metric in _QUALITY]
    if mine is None or other is None or left is None or rest is None or None in better:
        return MISSING, MISSING
    # Suppression counts every pair alike, what is left of the L2 the strong edits above all.
    verdict = "open"
    if mine >= other and left <= rest and all(better):
        verdict = MET
    elif mine <= other and left >= rest and not any(better):
        verdict = MISSED
    shown = f"s {mine:.3f} beside {other:.3f}, {left:.2f} % left beside {rest:.2f}"
    shown += f", {psnr[0]:.2f} dB beside {psnr[1]:.2f}"
    return verdict, f"{shown}, {faces(ours.dataset)}: {verdict}"


def _method(defense: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return what two records of one method share, whatever else they say of it."""
    named = method_name({**defense, "changed": changed_settings(defense)})
    return named, defense.get("sha256")


def _speed(defense: Mapping[str, Any], timings: Sequence[TimingRecord]) -> str:
    for timing in timings:
        seconds = {
            ("tuned" if _is_tuned(method.defense) else _method(method.defense)): mean
            for method in timing.methods
            if (mean := method.seconds.mean) is not None
        }
        if "tuned" in seconds and _method(defense) in seconds:
            times = seconds["tuned"] / seconds[_method(defense)]
            return f"{times:,.0f} times: {_verdict(times >= SPEED)}"
    return MISSING

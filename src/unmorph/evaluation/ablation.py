"""Table 4: generators trained without one term of the loss, and whether each term is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unmorph.evaluation import paper
from unmorph.evaluation.cells import filled, overall, set_and_faces, value
from unmorph.evaluation.comparison import beside, groups, is_papers
from unmorph.evaluation.document import Section
from unmorph.evaluation.record import Record

#: What tables 1 to 3 compare, in short.
_PAIRS = {"input": "x, x_adv", "output": "x_adv, G(x_adv)", "total": "x, G(x_adv)"}

#: Other figures of the protected face: metric, heading, decimals.
_INPUT = (("psnr", "PSNR", 2), ("lpips", "LPIPS", 5), ("perceptual", "perceptual", 2))

#: How many standard errors of a difference tell it from chance.
_ERRORS = 2

_NOTE = f"""\
L2 of generators trained without one term of their loss, and with all ("none"); they take no part in
tables 1 to 3. A difference counts where it exceeds {_ERRORS} of its standard errors (unpaired), and
a term earns its place where the L2 of table 1 or of table 2 is worse without it."""


def ablation_records(records: Sequence[Record]) -> list[Record]:
    """Return those of table 4: networks without a term, and those with all of their budget.

    Both are of the same faces.
    """
    found = []
    for group in groups(records):
        full = [other for bare in filter(_is_bare, group) for other in _full(bare, group)]
        found += [record for record in group if _is_bare(record) or record in full]
    return found


def _is_bare(record: Record) -> bool:
    """Whether it is of a network that was trained without a term."""
    return bool(record.defense.get("without"))


def _full(bare: Record, group: Sequence[Record]) -> list[Record]:
    """Return the networks with all terms that were trained as long as one without."""
    budget = bare.defense.get("budget")
    return [
        record
        for record in group
        if budget and record.defense.get("budget") == budget and not _is_bare(record)
    ]


def ablation_section(records: Sequence[Record]) -> Section:
    """Return table 4, and what each term is worth.

    Args:
        records: as `ablation_records` returns them.
    """
    headings = ["set", "loss removed", "network"]
    for pair in _PAIRS.values():
        headings += [pair, "paper"]
    headings += [heading for _, heading, _ in _INPUT]
    rows, verdicts = [], []
    for group in groups(records):
        for record in group:
            rows.append(_row(record))
            if _is_bare(record):
                verdicts += [_verdict(record, full) for full in _full(record, group)]
    return Section(
        "Table 4: ablation",
        " ".join([_NOTE, _budget(records), *verdicts]),
        filled([*headings, "s"], rows),
    )


def _budget(records: Sequence[Record]) -> str:
    """Say how long the networks were trained, all of them alike or not."""
    budgets = dict.fromkeys(record.defense.get("budget") for record in records)
    if None in budgets:
        return "Not all of these networks' files say how long they were trained."
    alike = "All were trained for" if len(budgets) == 1 else "They were not trained alike, but for"
    return f"{alike} {', '.join(map(str, budgets))} faces."


def _row(record: Record) -> list[str]:
    term = record.defense.get("without")
    printed = record.dataset["name"] == "celeba" and is_papers(record)
    cells = []
    for place, comparison in enumerate(_PAIRS):
        theirs = paper.ABLATION[term][place] if printed else None
        cells.append(value(record, comparison, "l2", 6))
        cells.append(beside("l2", record.mean(comparison, "l2"), theirs))
    cells += [value(record, "input", metric, decimals) for metric, _, decimals in _INPUT]
    suppressed = value(record, "suppression", "s", 4)
    return [
        set_and_faces(record),
        term or "none",
        str(record.defense["name"]),
        *cells,
        suppressed,
    ]


def _verdict(without: Record, full: Record) -> str:
    """Say what leaving a term out does, beside the generator of the same faces that has all."""
    seen, left = (_effect(comparison, without, full) for comparison in ("input", "output"))
    earned = "earns its place" if "worse" in (seen, left) else "does not earn its place"
    term, where = without.defense["without"], set_and_faces(without)
    return f"On {where} without {term} table 1 is {seen}, table 2 {left}: it {earned}."


def _effect(comparison: str, without: Record, full: Record) -> str:
    """Say whether one L2 is worse without the term, as far as standard errors tell.

    Both are of the same faces, so that their difference is known better than this reckons.
    """
    ours, theirs = overall(without, comparison, "l2"), overall(full, comparison, "l2")
    if ours is None or theirs is None or ours.mean is None or theirs.mean is None:
        return "not measured"
    error = math.hypot(ours.standard_error or 0, theirs.standard_error or 0)
    if abs(ours.mean - theirs.mean) <= _ERRORS * error:
        return "no different"
    return "worse" if ours.mean > theirs.mean else "better"

"""The paper's comparison, tables 1 to 3: which records take part, and what stands beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unmorph.attributes import are_attributes
from unmorph.evaluation import paper
from unmorph.evaluation.cells import (
    DSR_HEADING,
    MISSING,
    SET_NAMES,
    faces,
    is_learned,
    set_and_faces,
    set_name,
    share,
    small,
    value,
)
from unmorph.evaluation.document import Section, Table
from unmorph.evaluation.record import (
    Record,
    TimingRecord,
    keeps_epsilon,
    key_of,
    method_name,
    told_by_sha256,
)

#: The tables' columns: metric, heading, decimals.
COLUMNS = (
    ("l2", "L2", 6),
    ("psnr", "PSNR", 2),
    ("ssim", "SSIM", 4),
    ("perceptual", "perceptual", 2),
    ("lpips", "LPIPS", 5),
    ("lbp", "LBP changed", 3),
)

#: What tables 1 to 3 compare: number and title.
TABLES = {
    "input": ("Table 1", "the face and the protected face, x and x_adv"),
    "output": ("Table 2", "the protected face and its edit, x_adv and G(x_adv)"),
    "total": ("Table 3", "the face and the edit of the protected face, x and G(x_adv)"),
}

#: In what order the paper has its methods; what it has not comes after them.
_METHODS = ("no defense", "PGD", "generator")


def changed_settings(defense: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that were changed; how exactly gradients are reckoned is no setting."""
    changed = defense.get("changed", {})
    return {option: text for option, text in changed.items() if option != "precision"}


def paper_method(defense: Mapping[str, Any]) -> str | None:
    """Return the paper's name of a defense that the paper has too.

    Its generator is beside any that keeps to its epsilon, as its PGD does.
    """
    if is_learned(defense):
        return "generator" if keeps_epsilon(defense) else None
    if defense["name"] == "pgd-paper" and not changed_settings(defense) and keeps_epsilon(defense):
        return "PGD"
    return "no defense" if defense["name"] == "none" else None


def is_papers(record: Record | TimingRecord) -> bool:
    """Whether its deepfake is of the paper's kind; the paper's numbers are about no other."""
    return are_attributes(record.deepfake["edits"])


def is_whole(record: Record) -> bool:
    """Whether it is of all faces of a set, or of CelebA's test partition."""
    return _is_full(record) and not record.dataset.get("subset")


def _is_full(record: Record) -> bool:
    """Whether it is of a whole set or of all of a named subset, and of none to be tuned on."""
    tested = record.dataset.get("split") in (None, "test")
    return tested and record.settings.get("limit") is None


def compared(records: Sequence[Record]) -> list[Record]:
    """Return what takes part: whole sets and named subsets, with one deepfake.

    That is the one of most of these records; of the paper's kind, if there is one.
    """
    full = [record for record in records if _is_full(record)]
    candidates = [record for record in full if is_papers(record)] or full
    if not candidates:
        return []
    ((chosen, _),) = Counter(map(_deepfake, candidates)).most_common(1)
    return [record for record in candidates if _deepfake(record) == chosen]


def _deepfake(record: Record) -> str:
    return key_of(told_by_sha256(record.deepfake))


def groups(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Yield the records that share faces and deepfake, in the order in which they first appear."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        key = (record.dataset["photos_sha256"], _deepfake(record))
        found.setdefault(key, []).append(record)
    yield from found.values()


def ordered(records: Sequence[Record]) -> list[Record]:
    """Return records by set, whole ones and large subsets first, then as the paper has methods."""
    sets = [*SET_NAMES, *sorted({record.dataset["name"] for record in records} - {*SET_NAMES})]

    def place(record: Record) -> tuple[int, int, int]:
        method = paper_method(record.defense)
        rank = _METHODS.index(method) if method else len(_METHODS)
        return sets.index(record.dataset["name"]), -record.dataset["count"], rank

    return sorted(records, key=place)


def comparison_sections(records: Sequence[Record]) -> Iterator[Section]:
    """Yield tables 1 to 3, each once a set, with the paper's numbers where it has the set.

    Args:
        records: those that take part, in their order.
    """
    names = dict.fromkeys(record.dataset["name"] for record in records)
    for comparison, (table, title) in TABLES.items():
        for name in names:
            of_set = [record for record in records if record.dataset["name"] == name]
            printed = paper.COMPARISONS[comparison].get(name) if is_papers(of_set[0]) else None
            rows = [
                [faces(record.dataset), *cells]
                for record, cells in _rows(comparison, of_set, printed)
            ]
            headings = ("faces", *_headings(comparison, beside=printed is not None))
            note = _perceptual_ratios(comparison, of_set, printed) if printed else ""
            yield Section(f"{table}, {set_name(name)}: {title}", note, Table(headings, rows))


def other_sections(records: Sequence[Record]) -> Iterator[Section]:
    """Yield the same of other records, all sets in one table and without the paper's numbers."""
    for comparison, (table, title) in TABLES.items():
        rows = [
            [set_and_faces(record), str(record.deepfake["name"]), *cells]
            for record, cells in _rows(comparison, records, None)
        ]
        headings = ("set", "deepfake", *_headings(comparison, beside=False))
        yield Section(f"Other runs, as in table {table[-1]}: {title}", "", Table(headings, rows), 2)


def _headings(comparison: str, beside: bool) -> list[str]:
    headings = ["method"]
    for metric, heading, _ in COLUMNS:
        headings += [heading, "paper"] if beside and metric in paper.METRICS else [heading]
    if comparison == "output":
        headings += [DSR_HEADING, "paper"] if beside else [DSR_HEADING]
        headings.append("of unprotected L2")
    return headings


def _rows(
    comparison: str,
    records: Sequence[Record],
    printed: Mapping[str, tuple[float, ...]] | None,
) -> Iterator[tuple[Record, list[str]]]:
    """Yield each row's record, and its cells from the method on.

    Args:
        printed: the paper's figures by method; without, no column is kept for them.
    """
    for group in groups(records):
        if comparison == "output":
            # All of a group share it; the fullest has the most metrics.
            fullest = max(group, key=lambda record: len(record.figures["unprotected"]))
            cells = _measured(fullest, "unprotected", printed, "no defense")
            cells += _dsr(fullest, "unprotected", "no defense", beside=printed is not None)
            yield fullest, ["no defense", *cells, _of_unprotected(fullest, "unprotected")]
        for record in group:
            if record.defense["name"] == "none":
                continue
            method = paper_method(record.defense)
            cells = _measured(record, comparison, printed, method)
            if comparison == "output":
                cells += _dsr(record, "protected", method, beside=printed is not None)
                cells.append(_of_unprotected(record, comparison))
            yield record, [method_name(record.defense), *cells]


def _measured(
    record: Record,
    comparison: str,
    printed: Mapping[str, tuple[float, ...]] | None,
    method: str | None,
) -> list[str]:
    theirs = dict(zip(paper.METRICS, (printed or {}).get(method or "", ()), strict=False))
    cells = []
    for metric, _, decimals in COLUMNS:
        cells.append(value(record, comparison, metric, decimals))
        if printed is not None and metric in paper.METRICS:
            cells.append(beside(metric, record.mean(comparison, metric), theirs.get(metric)))
    return cells


def _dsr(record: Record, metric: str, method: str | None, *, beside: bool) -> list[str]:
    """Return DSR, table 2's last column (ASR there), and the paper's where it has the method."""
    theirs = f"{paper.DSR[method]} %" if method in paper.DSR else MISSING
    return [share(record, "dsr", metric), *([theirs] if beside else [])]


def _of_unprotected(record: Record, comparison: str) -> str:
    before, after = record.mean("unprotected", "l2"), record.mean(comparison, "l2")
    return f"{100 * after / before:.1f} %" if before and after is not None else MISSING


def beside(metric: str, ours: float | None, theirs: float | None) -> str:
    """Return the paper's number and how ours stands to it."""
    if theirs is None:
        return MISSING
    text = f"{theirs:.2f}" if metric in ("psnr", "perceptual") else small(theirs, 4)
    if ours is None:
        return text
    if metric == "perceptual":
        return f"{text} (other scale)"
    if metric == "psnr":
        return f"{text} ({ours - theirs:+.2f} dB)"
    if metric == "ssim":
        return f"{text} ({ours - theirs:+.4f})"
    return f"{text} (× {ours / theirs:.2f})"  # noqa: RUF001


def _perceptual_ratios(
    comparison: str, records: Sequence[Record], printed: Mapping[str, tuple[float, ...]]
) -> str:
    """Say how many times the generator's perceptual distance PGD has, here and in the paper."""
    place = paper.METRICS.index("perceptual")
    theirs = printed["PGD"][place] / printed["generator"][place]
    ours = []
    for group in groups(records):
        means: dict[str, list[tuple[Record, float]]] = {"PGD": [], "generator": []}
        for record in group:
            mean = record.mean(comparison, "perceptual")
            if mean and (method := paper_method(record.defense)) in means:
                means[method].append((record, mean))
        for _, pgd in means["PGD"]:
            ours += [
                f"{pgd / mean:.1f} times that of {method_name(record.defense)} on "
                f"{faces(record.dataset)}"
                for record, mean in means["generator"]
            ]
    text = (
        f"PGD's perceptual distance is {theirs:.1f} times the generator's in the paper (a ratio, "
        "in which the unknown scale cancels)"
    )
    return f"{text}; here it is {', '.join(ours)}." if ours else f"{text}."

"""Turn records into the tables of a report. No figure is computed here that no record holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unmorph.attributes import are_attributes
from unmorph.evaluation import paper
from unmorph.evaluation.document import Document, Picture, Section, Table
from unmorph.evaluation.heatmap import is_hardened, panel_section, panels
from unmorph.evaluation.record import Record, TimingRecord, key_of, method_name
from unmorph.evaluation.summary import Summary

#: The tables' columns: metric, heading, decimals.
_COLUMNS = (
    ("l2", "L2", 5),
    ("psnr", "PSNR", 2),
    ("ssim", "SSIM", 4),
    ("perceptual", "perceptual", 2),
    ("lpips", "LPIPS", 4),
    ("lbp", "LBP changed", 3),
)

_SET_NAMES = {"celeba": "CelebA", "lfw": "LFW", "ffhq": "FFHQ", "folder": "folder"}

_TITLES = {
    "input": "Table 1: the face and the protected face, x and x_adv",
    "output": "Table 2: the protected face and its edit, x_adv and G(x_adv)",
    "total": "Table 3: the face and the edit of the protected face, x and G(x_adv)",
}

_INTRODUCTION = """\
Means over faces and edits, ± one standard error (faces are the independent units). L2 is the mean
squared error on [-1,1]. The columns "paper" hold the paper's own numbers for the same method and
set, in brackets how ours stand to them: as a ratio, or for PSNR and SSIM as a difference. Its
deepfake is the publisher's StarGAN, ours is named below; the scale of its "perceptual" column is
unknown, so there the two do not compare."""

_SEVERAL = """ The records are of more than one deepfake, side by side only where
they share it: "The runs" says whose is whose."""

_PERCEPTUAL = "other scale"


def build_report(
    records: Sequence[Record | TimingRecord], pictures: Sequence[Picture] = ()
) -> Document:
    """Arrange records as a document: tables 1 to 4, efficiency, and what proves the edit dead."""
    evaluations = [record for record in records if isinstance(record, Record)]
    timings = [record for record in records if isinstance(record, TimingRecord)]
    paths = panels(record for record in evaluations if not record.defense.get("without"))
    evaluations = [record for record in evaluations if not is_hardened(record)]
    ablations = [record for record in evaluations if record.defense.get("without")]
    main = [record for record in evaluations if not record.defense.get("without")]
    sections = []
    if main:
        for comparison, title in _TITLES.items():
            sections.append(Section(title, "", _comparison_table(comparison, main)))
    if ablations:
        sections.append(_ablation_section(ablations, main))
    sections += [_timing_section(record) for record in timings]
    if main:
        sections.append(_suppression_section(main))
    sections += [panel_section(panel) for panel in paths]
    if any(record.judge for record in main):
        sections.append(_judge_section(main))
    if main:
        sections.append(Section("Edit by edit", "", _edit_table(main)))
    if evaluations:
        sections.append(Section("The runs", "", _run_table(evaluations)))
    introduction = _INTRODUCTION
    if len({key_of(record.deepfake) for record in evaluations}) > 1:
        introduction += _SEVERAL
    return Document("Evaluation", introduction, sections, pictures)


def render_summary(record: Record) -> str:
    """Render the main figures of one record as a few lines of text."""
    rows = (
        ("PSNR of the protected face", _value(record, "input", "psnr", 2), "dB"),
        ("L2 of an edit, unprotected", _value(record, "unprotected", "l2", 5), ""),
        ("L2 of an edit, protected", _value(record, "output", "l2", 5), ""),
        ("L2 of an edit to the own labels", _value(record, "own_labels", "l2", 5), ""),
        ("edit suppression s", _value(record, "suppression", "s", 4), ""),
        ("strict DSR (s >= 0.75)", _share(record, "suppression", "strict_dsr"), ""),
        ("pairs counted", _share(record, "suppression", "counted"), ""),
        ("s, pairs moved by 0.01", _value(record, "suppression_fixed", "s", 4), ""),
        ("strict DSR, pairs moved by 0.01", _share(record, "suppression_fixed", "strict_dsr"), ""),
        ("pairs moved by 0.01", _share(record, "suppression_fixed", "counted"), ""),
        ("DSR at 0.05", _share(record, "dsr", "protected"), ""),
        ("DSR of unprotected faces", _share(record, "dsr", "unprotected"), ""),
    )
    return "\n".join(f"{name:34} {value} {unit}".rstrip() for name, value, unit in rows)


def _is_learned(defense: Mapping[str, Any]) -> bool:
    """Whether it is a trained generator: only those are files."""
    return "sha256" in defense


def _is_file(defense: Mapping[str, Any]) -> bool:
    """Whether it was given as a file, whose name it then has."""
    return Path(defense["file"]).stem == str(defense["name"])


def _paper_method(defense: Mapping[str, Any]) -> str | None:
    """Return the paper's name of a defense that the paper has too."""
    if _is_learned(defense):
        return "generator"
    # How exactly gradients are reckoned is none of the paper's settings.
    if defense["name"] == "pgd-paper" and not defense["changed"].keys() - {"precision"}:
        return "PGD"
    return "no defense" if defense["name"] == "none" else None


def _is_papers(record: Record | TimingRecord) -> bool:
    """Whether its deepfake is of the paper's kind; the paper's numbers are about no other."""
    return are_attributes(record.deepfake["edits"])


def _faces(record: Record | TimingRecord) -> str:
    """Name the faces, with their number."""
    name = str(record.dataset["name"])
    parts = [_SET_NAMES.get(name, name), record.dataset.get("subset")]
    return f"{' '.join(filter(None, parts))} ({record.dataset['count']:,})"


def _set_name(record: Record | TimingRecord) -> str:
    """Name the faces, and the deepfake too where it is of another kind than the paper's."""
    against = "" if _is_papers(record) else f", {record.deepfake['name']}"
    return f"{_faces(record)}{against}"


def _number(summary: Summary | None, decimals: int) -> str:
    if summary is None or summary.mean is None:
        return "-"
    if summary.standard_error is None:
        return f"{summary.mean:.{decimals}f}"
    return f"{summary.mean:.{decimals}f} ± {summary.standard_error:.{decimals}f}"


def _percentage(summary: Summary | None) -> str:
    if summary is None or summary.mean is None:
        return "-"
    return f"{100 * summary.mean:.1f} %"


def _summary(record: Record, comparison: str, metric: str) -> Summary | None:
    figure = record.figures.get(comparison, {}).get(metric)
    return figure.overall if figure else None


def _value(record: Record, comparison: str, metric: str, decimals: int) -> str:
    return _number(_summary(record, comparison, metric), decimals)


def _share(record: Record, comparison: str, metric: str) -> str:
    return _percentage(_summary(record, comparison, metric))


def _groups(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Yield the records that share faces and deepfake, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        key = (record.dataset["photos_sha256"], key_of(record.deepfake))
        groups.setdefault(key, []).append(record)
    yield from groups.values()


def _comparison_table(comparison: str, records: Sequence[Record]) -> Table:
    rows = []
    for group in _groups(records):
        if comparison == "output":
            # All of a group share it; the fullest has the most metrics.
            fullest = max(group, key=lambda record: len(record.figures["unprotected"]))
            rows.append(_measured_row(fullest, "unprotected", "no defense", "no defense"))
        for record in group:
            if record.defense["name"] != "none":
                names = method_name(record.defense), _paper_method(record.defense)
                rows.append(_measured_row(record, comparison, *names))
    headings = ["set", "method"]
    for metric, heading, _ in _COLUMNS:
        headings += [heading, "paper"] if metric in paper.METRICS else [heading]
    if comparison == "output":
        headings.append("of unprotected L2")
    else:
        rows = [row[:-1] for row in rows]
    return Table(tuple(headings), rows)


def _measured_row(
    record: Record, comparison: str, method: str, paper_method: str | None
) -> list[str]:
    printed = "output" if comparison == "unprotected" else comparison
    methods: Mapping[str, tuple[float, ...]] = {}
    if _is_papers(record):
        methods = paper.COMPARISONS[printed].get(str(record.dataset["name"]), {})
    theirs = dict(zip(paper.METRICS, methods.get(paper_method or "", ()), strict=False))
    cells = []
    for metric, _, decimals in _COLUMNS:
        cells.append(_value(record, comparison, metric, decimals))
        if metric in paper.METRICS:
            cells.append(_beside(metric, record.mean(comparison, metric), theirs.get(metric)))
    before, after = record.mean("unprotected", "l2"), record.mean(comparison, "l2")
    ratio = f"{100 * after / before:.1f} %" if before and after is not None else "-"
    return [_set_name(record), method, *cells, ratio]


def _beside(metric: str, ours: float | None, theirs: float | None) -> str:
    """Return the paper's number and how ours stands to it."""
    if theirs is None:
        return "-"
    number = f"{theirs:.2f}" if metric in ("psnr", "perceptual") else _small(theirs, 4)
    if ours is None:
        return number
    if metric == "perceptual":
        return f"{number} ({_PERCEPTUAL})"
    if metric == "psnr":
        return f"{number} ({ours - theirs:+.2f} dB)"
    if metric == "ssim":
        return f"{number} ({ours - theirs:+.4f})"
    return f"{number} (× {ours / theirs:.2f})"  # noqa: RUF001


def _small(value: float, decimals: int) -> str:
    """Format a number that may lie below the last decimal."""
    return f"{value:.{decimals}f}" if value >= 10**-decimals or value == 0 else f"{value:.0e}"


def _ablation_section(ablations: Sequence[Record], main: Sequence[Record]) -> Section:
    # A shipped network, which is named and not given as a file, had another budget.
    full = [record for record in main if _is_learned(record.defense) and _is_file(record.defense)]
    rows = []
    for group in _groups([*ablations, *full]):
        if not any(record.defense.get("without") for record in group):
            continue
        for record in group:
            term = record.defense.get("without")
            printed = record.dataset["name"] == "celeba" and _is_papers(record)
            cells = []
            for place, comparison in enumerate(_TITLES):
                ours = record.mean(comparison, "l2")
                theirs = paper.ABLATION[term][place] if printed else None
                cells.append("-" if ours is None else _small(ours, 5))
                cells.append(_beside("l2", ours, theirs))
            suppressed = _value(record, "suppression", "s", 4)
            rows.append(
                [_set_name(record), term or "none", str(record.defense["name"]), *cells, suppressed]
            )
    pairs = ("x, x_adv", "x_adv, G(x_adv)", "x, G(x_adv)")
    headings = ["set", "loss removed", "network"]
    for pair in pairs:
        headings += [pair, "paper"]
    note = "L2 of the generator trained without one term of its loss."
    return Section("Table 4: ablation", note, Table((*headings, "s"), rows))


def _timing_section(record: TimingRecord) -> Section:
    learned = (m.seconds.mean for m in record.methods if _is_learned(m.defense))
    unit = next(learned, None)
    rows = []
    for method in record.methods:
        mean = method.seconds.mean
        times = f"{mean / unit:,.1f}" if mean is not None and unit else "-"
        paper_times = ""
        if _paper_method(method.defense) == "PGD" and _is_papers(record):
            paper_times = f"more than {paper.PGD_SLOWDOWN}"
        rows.append(
            [
                method_name(method.defense),
                _weights(method.defense),
                _number(method.seconds, 4),
                str(method.seconds.count),
                times,
                paper_times or "-",
            ]
        )
    machine = record.machine
    weights = f" ({_weights(record.deepfake)})" if "sha256" in record.deepfake else ""
    note = (
        f"{_faces(record)}, one face at a time, warm, all in one run on {machine['name']}, "
        f"{machine['threads']} threads, {machine['device']}; deepfake {record.deepfake['name']}"
        f"{weights}; commit {_commit(record)}, {record.created}."
    )
    headings = ("method", "its weights", "seconds a face", "faces", "times the generator", "paper")
    return Section("Efficiency", note, Table(headings, rows))


def _suppression_section(records: Sequence[Record]) -> Section:
    headings = (
        "set",
        "method",
        "s",
        "strict DSR (s >= 0.75)",
        "pairs counted",
        "DSR at 0.05",
        "DSR, unprotected",
        "own-label L2",
        "own-label PSNR",
    )
    rows = [
        [
            _set_name(record),
            method_name(record.defense),
            _value(record, "suppression", "s", 4),
            _share(record, "suppression", "strict_dsr"),
            _share(record, "suppression", "counted"),
            _share(record, "dsr", "protected"),
            _share(record, "dsr", "unprotected"),
            _value(record, "own_labels", "l2", 5),
            _value(record, "own_labels", "psnr", 2),
        ]
        for record in records
    ]
    note = (
        "s = 1 - L2(x_adv, G(x_adv)) / L2(x, G(x)), over the pairs of face and edit that the "
        "deepfake moves by at least 0.01, or by half its median movement where its edits are "
        "subtler. The paper's DSR is 100 % throughout; that of unprotected faces shows how little "
        "it asks. The own-label figures are the deepfake's reconstruction error."
    )
    return Section("Does the edit die?", note, Table(headings, rows))


def _judge_section(records: Sequence[Record]) -> Section:
    rows = []
    for record in records:
        if record.judge is None:
            continue
        figures = record.figures["edit_success"]
        states = ("untouched", "unprotected", "protected")
        labels = [_set_name(record), method_name(record.defense)]
        shown = [*(figures[state] for state in states), record.figures["judge"]["agreement"]]
        rows.append([*labels, "all", *(_percentage(figure.overall) for figure in shown)])
        for edit in figures["protected"].edits:
            rows.append([*labels, edit, *(_percentage(figure.edits[edit]) for figure in shown)])
    headings = (
        "set",
        "method",
        "edit",
        "untouched photos (floor)",
        "edited",
        "edited, protected",
        "judge agrees with labels",
    )
    note = (
        "Share of faces to which the judge assigns what the edit asked for, and how often it "
        "agrees with the labels of untouched photos (a classifier's where the set has none)."
    )
    return Section("What an independent judge sees", note, Table(headings, rows))


def _edit_table(records: Sequence[Record]) -> Table:
    rows = []
    for record in records:
        suppression = record.figures["suppression"]
        for edit in record.deepfake["edits"]:
            rows.append(
                [
                    _set_name(record),
                    method_name(record.defense),
                    edit,
                    _number(record.figures["unprotected"]["l2"].edits[edit], 5),
                    _number(record.figures["output"]["l2"].edits[edit], 5),
                    _number(suppression["s"].edits[edit], 4),
                    _percentage(suppression["strict_dsr"].edits[edit]),
                    _percentage(suppression["counted"].edits[edit]),
                ]
            )
    headings = (
        "set",
        "method",
        "edit",
        "L2 unprotected",
        "L2 protected",
        "s",
        "strict DSR",
        "counted",
    )
    return Table(headings, rows)


def _run_table(records: Sequence[Record]) -> Table:
    rows = [
        [
            _set_name(record),
            method_name(record.defense),
            _weights(record.defense),
            str(record.deepfake["name"]),
            _weights(record.deepfake),
            str(record.settings["labels"]),
            f"{record.machine['name']}, {record.machine['threads']} threads"
            + (", compiled" if record.machine.get("compiled") else ""),
            f"{record.seconds / 60:.1f} min",
            _commit(record),
            record.created,
        ]
        for record in records
    ]
    headings = (
        "set",
        "method",
        "its weights",
        "deepfake",
        "the deepfake's weights",
        "labels",
        "machine",
        "time",
        "commit",
        "date",
    )
    return Table(headings, rows)


def _weights(participant: Mapping[str, Any]) -> str:
    """Return the first digits of the SHA-256 of what a record says was run, where it is a file."""
    return str(participant.get("sha256", ""))[:12] or "-"


def _commit(record: Record | TimingRecord) -> str:
    """Return the start of a record's commit, and whether the code had been changed since."""
    commit, dirty, _ = (record.commit or "-").partition("-dirty")
    return f"{commit[:12]}{dirty}"

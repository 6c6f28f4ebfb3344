"""Turn records into a report. No figure is computed here but differences and ratios of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from unmorph.evaluation import paper
from unmorph.evaluation.ablation import ablation_records, ablation_section
from unmorph.evaluation.aims import aims_section
from unmorph.evaluation.cells import (
    DSR_HEADING,
    MISSING,
    commits,
    filled,
    is_learned,
    number,
    percentage,
    set_and_faces,
    share,
    small,
    value,
    weights,
)
from unmorph.evaluation.comparison import (
    compared,
    comparison_sections,
    is_papers,
    ordered,
    other_sections,
    paper_method,
)
from unmorph.evaluation.document import Document, Picture, Section, Table
from unmorph.evaluation.heatmap import is_hardened, panel_section, panels
from unmorph.evaluation.record import AnyRecord, Record, TimingRecord, TuningRecord, method_name

_INTRODUCTION = f"""\
Means over faces and edits, ± one standard error (faces are the independent units). L2 is the mean
squared error on [-1,1], and SSIM is of values on [-1,1] as well, where it minds brightness more
than on [0,1]. Tables 1 to 3 are of whole sets and of named subsets, with one deepfake;
what else was run is in the appendix. Their columns "paper" hold the paper's own numbers for the
same method and set, in brackets how ours stand to them: as a ratio, or for PSNR and SSIM as a
difference. The scale of its "perceptual" column is unknown, so there the two do not compare. Its
generator stands beside generators that keep to its epsilon of {paper.EPSILON} as well: not beside
those that may change more, nor those of table 4, which are there to be compared with each other."""

_APPENDIX = """\
What takes no part in the paper's comparison: runs with other deepfakes, of a few faces, and of what
befalls photos on their way; then all runs edit by edit, and when and where each was made."""


def build_report(records: Sequence[AnyRecord], pictures: Sequence[Picture] = ()) -> Document:
    """Arrange records as a document: the aims, the paper's tables and figures, and an appendix."""
    evaluations = [record for record in records if isinstance(record, Record)]
    timings = [record for record in records if isinstance(record, TimingRecord)]
    tunings = [record for record in records if isinstance(record, TuningRecord)]
    plain = [record for record in evaluations if not is_hardened(record)]
    ablations = ablation_records(plain)
    main = ordered(compared([record for record in plain if record not in ablations]))
    others = [record for record in plain if record not in main and record not in ablations]
    sections = [
        *aims_section(main, timings),
        *comparison_sections(main),
        *([ablation_section(ablations)] if ablations else []),
        *map(_timing_section, timings),
        *_edit_sections(main),
        *_tuning_sections(tunings),
    ]
    if pictures:
        sections.append(Section("Figures", pictures=sorted(pictures, key=_figure_number)))
    appendix = _appendix(main, ablations, others, evaluations)
    if appendix:
        sections += [Section("Appendix: other runs", _APPENDIX), *appendix]
    introduction = _INTRODUCTION
    if main:
        introduction += f" Its deepfake is the publisher's StarGAN, ours: {_deepfake(main[0])}."
    return Document("Evaluation", introduction, sections)


def _appendix(
    main: Sequence[Record],
    ablations: Sequence[Record],
    others: Sequence[Record],
    evaluations: Sequence[Record],
) -> list[Section]:
    sections: list[Section] = []
    if others:
        sections += other_sections(others)
    sections += _edit_sections([*others, *ablations], "Other runs: ", 2)
    paths = panels(record for record in evaluations if record not in ablations)
    sections += [replace(panel_section(panel), level=2) for panel in paths]
    if plain := [*main, *others, *ablations]:
        sections.append(Section("Edit by edit", "", _edit_table(plain), 2))
        sections.append(Section("The runs", _RUNS, _run_table(plain), 2))
    return sections


def render_summary(record: Record) -> str:
    """Render the main figures of one record as a few lines of text."""
    rows = (
        ("PSNR of the protected face", value(record, "input", "psnr", 2), "dB"),
        ("L2 of an edit, unprotected", value(record, "unprotected", "l2", 5), ""),
        ("L2 of an edit, protected", value(record, "output", "l2", 5), ""),
        ("L2 of an edit to the own labels", value(record, "own_labels", "l2", 5), ""),
        ("edit suppression s", value(record, "suppression", "s", 4), ""),
        ("strict DSR (s >= 0.75)", share(record, "suppression", "strict_dsr"), ""),
        ("pairs counted", share(record, "suppression", "counted"), ""),
        ("s, pairs moved by 0.01", value(record, "suppression_fixed", "s", 4), ""),
        ("strict DSR, pairs moved by 0.01", share(record, "suppression_fixed", "strict_dsr"), ""),
        ("pairs moved by 0.01", share(record, "suppression_fixed", "counted"), ""),
        (DSR_HEADING, share(record, "dsr", "protected"), ""),
        ("DSR of unprotected faces", share(record, "dsr", "unprotected"), ""),
    )
    return "\n".join(f"{name:34} {shown} {unit}".rstrip() for name, shown, unit in rows)


def _figure_number(picture: Picture) -> float:
    """Return which of the paper's figures it is; those that are none come last."""
    found = re.match(r"Figure (\d+):", picture.caption)
    return int(found[1]) if found else float("inf")


def _timing_section(record: TimingRecord) -> Section:
    learned = (m.seconds.mean for m in record.methods if is_learned(m.defense))
    unit = next(learned, None)
    rows = []
    for method in record.methods:
        mean = method.seconds.mean
        times = f"{mean / unit:,.1f}" if mean is not None and unit else MISSING
        paper_times = MISSING
        if paper_method(method.defense) == "PGD" and is_papers(record):
            paper_times = f"more than {paper.PGD_SLOWDOWN}"
        rows.append(
            [
                method_name(method.defense),
                weights(method.defense),
                number(method.seconds, 4),
                str(method.seconds.count),
                times,
                paper_times,
            ]
        )
    note = (
        f"{set_and_faces(record)}, one face at a time, warm, all in one run on "
        f"{_machine(record)}, {record.machine['device']}; deepfake {_deepfake(record)}; "
        f"commit {commits(record)}, {record.created}."
    )
    headings = ("method", "its weights", "seconds a face", "faces", "times the generator", "paper")
    return Section("Efficiency", note, Table(headings, rows))


def _edit_sections(records: Sequence[Record], of: str = "", level: int = 1) -> Iterator[Section]:
    """Yield what proves edits dead: suppression, and a judge where there was one."""
    if records:
        yield _suppression_section(records, of, level)
    if judged := [record for record in records if record.judge]:
        yield _judge_section(judged, of, level)


def _suppression_section(records: Sequence[Record], of: str, level: int) -> Section:
    headings = (
        "set",
        "method",
        "s",
        "strict DSR (s >= 0.75)",
        "pairs counted",
        DSR_HEADING,
        "DSR, unprotected",
        "L2 of edits",
        "L2 to the picture",
        "the same, unprotected",
        "own-label L2",
        "own-label PSNR",
    )
    rows = [
        [
            _set_name(record),
            method_name(record.defense),
            value(record, "suppression", "s", 4),
            share(record, "suppression", "strict_dsr"),
            share(record, "suppression", "counted"),
            share(record, "dsr", "protected"),
            share(record, "dsr", "unprotected"),
            value(record, "edits", "l2", 5),
            value(record, "picture", "l2", 5),
            value(record, "picture_unprotected", "l2", 5),
            value(record, "own_labels", "l2", 5),
            value(record, "own_labels", "psnr", 2),
        ]
        for record in records
    ]
    table = filled(headings, rows)
    note = (
        "s = 1 - L2(x_adv, G(x_adv)) / L2(x, G(x)), over the pairs of face and edit that the "
        "deepfake moves by at least 0.01, or by half its median movement where its edits are "
        "subtler. The paper's DSR is 100 % throughout; that of unprotected faces shows how little "
        "it asks. The own-label figures are the deepfake's reconstruction error."
    )
    if "L2 of edits" in table.headings:
        note += " L2 of edits is that of G(x) and G(x_adv), which distortion wants large."
    if "L2 to the picture" in table.headings:
        note += " The picture is what a targeted attack drives G(x_adv) to."
    return Section(f"{of}does the edit die?" if of else "Does the edit die?", note, table, level)


#: What the judge is shown, and how often it agrees with the labels.
_JUDGED = (
    ("edit_success", "untouched", "untouched photos (floor)"),
    ("edit_success", "unprotected", "edited"),
    ("edit_success", "protected", "edited, protected"),
    ("judge", "agreement", "judge agrees with labels"),
)


def _judge_section(records: Sequence[Record], of: str, level: int) -> Section:
    rows = [
        [
            _set_name(record),
            method_name(record.defense),
            *(share(record, comparison, metric) for comparison, metric, _ in _JUDGED),
        ]
        for record in records
    ]
    note = (
        "Share of faces to which the judge assigns what the edit asked for, and how often it "
        "agrees with the labels of untouched photos (a classifier's where the set has none)."
    )
    headings = ("set", "method", *(heading for *_, heading in _JUDGED))
    title = f"{of}what an independent judge sees" if of else "What an independent judge sees"
    return Section(title, note, Table(headings, rows), level)


#: Decibels that a protected face keeps where a perturbation hardly shows.
_KEPT_PSNR = 42


def _rank(trial: Mapping[str, Any], record: TuningRecord) -> str:
    """Say whether a trial has the highest s of its search, or of those that show little."""
    subtle = [other for other in record.trials if (other["input_psnr"] or 0) >= _KEPT_PSNR]
    ranks = ["best"] if trial == record.best else []
    if subtle and trial == max(subtle, key=lambda other: float(other["s"])):
        ranks.append(f"best from {_KEPT_PSNR} dB on")
    return ", ".join(ranks) or MISSING


def _tuning_sections(records: Sequence[TuningRecord]) -> Iterator[Section]:
    """Yield what was tried for each defense, all its searches in one table."""
    for name in dict.fromkeys(record.defense["name"] for record in records):
        found = [record for record in records if record.defense["name"] == name]
        searches = list(enumerate(sorted(found, key=lambda record: record.created), 1))
        trials = [(place, trial, record) for place, record in searches for trial in record.trials]
        options = list(dict.fromkeys(key for _, trial, _ in trials for key in trial["options"]))
        rows = [
            [
                str(place),
                *(trial["options"].get(option, "as registered") for option in options),
                small(trial["s"], 4),
                f"{100 * trial['strict_dsr']:.1f} %",
                MISSING if trial["input_psnr"] is None else f"{trial['input_psnr']:.2f}",
                f"{trial['seconds']:.1f}",
                _rank(trial, record),
            ]
            for place, trial, record in trials
        ]
        about = "; ".join(
            f"{place} on {set_and_faces(record)} against {_deepfake(record)}, {_machine(record)}, "
            f"commit {commits(record)}"
            for place, record in searches
        )
        note = (
            f"Searches: {about}. Seconds are those of a whole trial, measuring included; the "
            "best of each search has the highest s. What shows more stops more: beside it stands "
            f"the best of those that keep {_KEPT_PSNR} dB."
        )
        headings = ("search", *options, "s", "strict DSR", "PSNR", "seconds", "of its search")
        yield Section(f"How {name.upper()} was tuned", note, Table(headings, rows))


def _edit_table(records: Sequence[Record]) -> Table:
    def of_edit(record: Record, comparison: str, metric: str, edit: str, decimals: int = 0) -> str:
        figure = record.figures.get(comparison, {}).get(metric)
        summary = figure.edits[edit] if figure else None
        return number(summary, decimals) if decimals else percentage(summary)

    rows = [
        [
            _set_name(record),
            method_name(record.defense),
            edit,
            of_edit(record, "unprotected", "l2", edit, 5),
            of_edit(record, "output", "l2", edit, 5),
            of_edit(record, "suppression", "s", edit, 4),
            of_edit(record, "suppression", "strict_dsr", edit),
            of_edit(record, "suppression", "counted", edit),
            *(of_edit(record, comparison, metric, edit) for comparison, metric, _ in _JUDGED),
        ]
        for record in records
        for edit in record.deepfake["edits"]
    ]
    headings = (
        "set",
        "method",
        "edit",
        "L2 unprotected",
        "L2 protected",
        "s",
        "strict DSR",
        "counted",
        *(heading for *_, heading in _JUDGED),
    )
    return filled(headings, rows)


_RUNS = (
    "Those through channels, of whole photos and of edits made twice are in the tables of the way."
)


def _run_table(records: Sequence[Record]) -> Table:
    rows = [
        [
            _set_name(record),
            method_name(record.defense),
            weights(record.defense),
            str(record.deepfake["name"]),
            weights(record.deepfake),
            str(record.settings["labels"]),
            _machine(record),
            f"{record.seconds / 60:.1f} min",
            commits(record),
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


def _set_name(record: Record) -> str:
    """Name the faces, and the deepfake too where it is of another kind than the paper's."""
    against = "" if is_papers(record) else f", {record.deepfake['name']}"
    return f"{set_and_faces(record)}{against}"


def _machine(record: AnyRecord) -> str:
    compiled = ", compiled" if record.machine.get("compiled") else ""
    return f"{record.machine['name']}, {record.machine['threads']} threads{compiled}"


def _deepfake(record: AnyRecord) -> str:
    known = f" ({weights(record.deepfake)})" if "sha256" in record.deepfake else ""
    return f"{record.deepfake['name']}{known}"

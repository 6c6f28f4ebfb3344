"""Render records as Markdown. Nothing here computes a figure that a record does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unmorph.evaluation.record import Record
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

#: Jiang et al., tables 1 to 3: L2, PSNR, SSIM, perceptual, LPIPS.
_PAPER = {
    "input": {
        "celeba": {
            "PGD": (0.0008, 36.9832, 0.9360, 239.0099, 0.0115),
            "generator": (0.0002, 42.6844, 0.9887, 11.6263, 0.0012),
        },
        "lfw": {
            "PGD": (0.0008, 36.9324, 0.9381, 240.8695, 0.0130),
            "generator": (0.0002, 43.0926, 0.9909, 11.7893, 0.0015),
        },
        "ffhq": {
            "PGD": (0.0008, 36.9449, 0.9473, 225.5404, 0.0070),
            "generator": (0.0004, 40.6340, 0.9876, 18.1097, 0.0012),
        },
    },
    "output": {
        "celeba": {
            "no defense": (0.0435, 21.5832, 0.8195, 2994.8579, 0.0869),
            "PGD": (0.0039, 30.2694, 0.8654, 2014.5713, 0.0581),
            "generator": (0.0018, 34.0527, 0.9594, 941.7181, 0.0306),
        },
        "lfw": {
            "no defense": (0.0414, 21.2920, 0.8106, 3298.6406, 0.0998),
            "PGD": (0.0040, 30.1451, 0.8673, 2068.6641, 0.0578),
            "generator": (0.0018, 33.8998, 0.9622, 908.7238, 0.0274),
        },
        "ffhq": {
            "no defense": (0.0477, 20.6184, 0.7889, 4039.8401, 0.0988),
            "PGD": (0.0059, 28.5643, 0.8556, 2565.0344, 0.0747),
            "generator": (0.0038, 30.8490, 0.9386, 1670.6807, 0.0542),
        },
    },
    "total": {
        "celeba": {
            "PGD": (0.0032, 31.1604, 0.9052, 1977.8158, 0.0481),
            "generator": (0.0024, 32.8416, 0.9446, 1016.6274, 0.0355),
        },
        "lfw": {
            "PGD": (0.0033, 31.0122, 0.9064, 1999.1094, 0.0486),
            "generator": (0.0023, 32.7748, 0.9514, 970.7018, 0.0328),
        },
        "ffhq": {
            "PGD": (0.0052, 29.1619, 0.8903, 2593.4036, 0.0665),
            "generator": (0.0050, 29.5974, 0.9178, 1821.7161, 0.0615),
        },
    },
}

_TITLES = {
    "input": "Table 1: the face and the protected face, x and x_adv",
    "output": "Table 2: the protected face and its edit, x_adv and G(x_adv)",
    "total": "Table 3: the face and the edit of the protected face, x and G(x_adv)",
}

_INTRODUCTION = """\
Means over faces and edits, ± one standard error (faces are the independent units). L2 is the mean
squared error on [-1,1]. Rows marked *paper* are the paper's own numbers: its deepfake is the
publisher's StarGAN, that of the other rows is named below; its "perceptual" scale is unknown, so
that column compares within rows of one kind only.
"""


def render_report(records: Sequence[Record]) -> str:
    """Render records as one Markdown document."""
    parts = ["# Evaluation", _INTRODUCTION]
    for comparison, title in _TITLES.items():
        parts += [f"## {title}", _comparison_table(comparison, records)]
    parts += ["## Does the edit die?", _suppression_table(records)]
    if any(record.judge for record in records):
        parts += ["## What an independent judge sees", _judge_table(records)]
    parts += ["## Edit by edit", _edit_table(records), "## The runs", _run_table(records)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


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
        ("DSR at 0.05", _share(record, "dsr", "protected"), ""),
        ("DSR of unprotected faces", _share(record, "dsr", "unprotected"), ""),
    )
    return "\n".join(f"{name:34} {value} {unit}".rstrip() for name, value, unit in rows)


def _table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    names = list(headings)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _set_name(record: Record) -> str:
    name = str(record.dataset["name"])
    count = record.dataset["count"]
    return f"{_SET_NAMES.get(name, name)} ({count:,})"


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


def _by_set(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Group records by the set's name, in the order in which sets first appear."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(str(record.dataset["name"]), []).append(record)
    return groups


def _comparison_table(comparison: str, records: Sequence[Record]) -> str:
    rows = []
    for name, group in _by_set(records).items():
        for method, figures in _PAPER[comparison].get(name, {}).items():
            numbers = [
                f"{value:.{4 if metric != 'psnr' else 2}f}"
                for value, (metric, *_) in zip(figures, _COLUMNS, strict=False)
            ]
            rows.append([_SET_NAMES[name], f"*paper*: {method}", *numbers, "-", ""])
        for record in group:
            defense = str(record.defense["name"])
            if comparison == "output" and defense != "none":
                rows.append(_measured_row(record, "unprotected", "no defense"))
            rows.append(_measured_row(record, comparison, defense))
    ratio = "of unprotected L2" if comparison == "output" else ""
    headings = ["set", "method", *(heading for _, heading, _ in _COLUMNS), ratio]
    if comparison != "output":
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    return _table(headings, rows)


def _measured_row(record: Record, comparison: str, method: str) -> list[str]:
    numbers = [_value(record, comparison, metric, decimals) for metric, _, decimals in _COLUMNS]
    before, after = record.mean("unprotected", "l2"), record.mean(comparison, "l2")
    ratio = f"{100 * after / before:.1f} %" if before and after is not None else "-"
    return [_set_name(record), method, *numbers, ratio]


def _suppression_table(records: Sequence[Record]) -> str:
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
            str(record.defense["name"]),
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
        "subtler. The own-label figures are the deepfake's reconstruction error."
    )
    return f"{note}\n\n{_table(headings, rows)}"


def _judge_table(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        if record.judge is None:
            continue
        figures = record.figures["edit_success"]
        for edit in figures["protected"].edits:
            shares = [
                _percentage(figures[state].edits[edit])
                for state in ("untouched", "unprotected", "protected")
            ]
            rows.append([_set_name(record), str(record.defense["name"]), edit, *shares])
    headings = ("set", "method", "edit", "untouched photos (floor)", "edited", "edited, protected")
    note = "Share of faces to which the judge assigns what the edit asked for."
    return f"{note}\n\n{_table(headings, rows)}"


def _edit_table(records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        suppression = record.figures["suppression"]
        for edit in record.deepfake["edits"]:
            rows.append(
                [
                    _set_name(record),
                    str(record.defense["name"]),
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
    return _table(headings, rows)


def _run_table(records: Sequence[Record]) -> str:
    rows = [
        [
            _set_name(record),
            str(record.defense["name"]),
            str(record.deepfake["name"]),
            str(record.settings["labels"]),
            f"{record.machine['name']}, {record.machine['threads']} threads",
            f"{record.seconds / 60:.1f} min",
            (record.commit or "-")[:12],
            record.created,
        ]
        for record in records
    ]
    headings = ("set", "method", "deepfake", "labels", "machine", "time", "commit", "date")
    return _table(headings, rows)

"""What survives on the way: channels against defenses, from records alone, as table and picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unmorph.channels import ANSWERS, CROPS, STANDARD
from unmorph.errors import ConfigError
from unmorph.evaluation.cells import named
from unmorph.evaluation.document import Section, Table
from unmorph.evaluation.record import Record, key_of, method_name, told_by_sha256

#: The channel of records that have none.
NONE = "none"

_ORDER = {name: place for place, name in enumerate((NONE, *STANDARD, *CROPS, *ANSWERS))}

#: Settings that may differ within a panel: its rows, and what changes no figure of it.
_OWN_SETTINGS = {
    "channel",
    "own_draws",
    "moved_threshold",
    "metrics",
    "metric_weights",
    "limit",
    "batch_size",
}

#: Strict DSR of 0, one half and 1 as colours that the colour-blind tell apart.
_COLOURS = np.array([(178, 24, 43), (247, 247, 247), (33, 102, 172)])

#: Sizes in pixels.
_CELL, _LABELS, _LINE, _TEXT = (132, 44), 230, 34, 15


@dataclass(frozen=True)
class Panel:
    """The records that differ in channel and defense only.

    Attributes:
        title: what they have in common.
        channels: the rows.
        defenses: the columns.
        records: by channel and defense; the newest where several are there.
    """

    title: str
    channels: tuple[str, ...]
    defenses: tuple[str, ...]
    records: dict[tuple[str, str], Record]


def is_hardened(record: Record) -> bool:
    """Return whether the deepfake got its faces otherwise than in the paper, or edited again."""
    settings = record.settings
    return (
        settings.get("channel", NONE) != NONE
        or "protocol" in settings
        or record.deepfake.get("applied", 1) > 1
    )


def panels(records: Iterable[Record]) -> list[Panel]:
    """Group records; a group of the paper's own protocol alone is left out."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.created):
        groups[key_of(_shared(record))].append(record)
    found = [group for group in groups.values() if any(map(is_hardened, group))]
    titles = _told_apart([(_title(group[0]), _shared(group[0])) for group in found])
    return [_panel(title, group) for title, group in zip(titles, found, strict=True)]


def _panel(title: str, group: Sequence[Record]) -> Panel:
    defenses = {key_of(record.defense): record.defense for record in group}
    names = _told_apart([(method_name(defense), defense) for defense in defenses.values()])
    name_of = dict(zip(defenses, names, strict=True))
    cells = {(_channel(record), name_of[key_of(record.defense)]): record for record in group}
    channels = sorted({row for row, _ in cells}, key=lambda row: (_ORDER.get(row, 99), row))
    return Panel(title, tuple(channels), tuple(names), cells)


def _shared(record: Record) -> dict[str, Any]:
    """Return what the records of a panel have in common: faces, deepfake and settings."""
    settings = {key: value for key, value in record.settings.items() if key not in _OWN_SETTINGS}
    # Of whole photos, not the faces: how many the attacker finds depends on the defense.
    dataset = record.dataset
    faces = {"photos_sha256": dataset["photos_sha256"], "photos": dataset.get("photos")}
    return {**faces, **told_by_sha256(record.deepfake), **settings}


def _told_apart(named: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return names; where several are alike, each with those of its entries that differ."""
    told = []
    flat = [(name, _flat(entries)) for name, entries in named]
    for name, entries in flat:
        alike = [other for other_name, other in flat if other_name == name]
        keys = dict.fromkeys(key for other in alike for key in other)
        own = [
            f"{key} {str(entries.get(key))[:8]}"
            for key in keys
            if any(other.get(key) != entries.get(key) for other in alike)
        ]
        told.append(f"{name} ({', '.join(own)})" if own else name)
    return told


def _flat(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a table and of those within it, each by its own name or its table's."""
    found: dict[str, Any] = {}
    for key, value in entries.items():
        if isinstance(value, Mapping):
            inner = _flat(value)
            found |= {f"{key} {name}" if name in entries else name: inner[name] for name in inner}
        else:
            found[key] = value
    return found


def panel_section(panel: Panel) -> Section:
    """Return a panel as a section of a report: strict DSR, and the mean of s in brackets."""
    rows = [
        [channel, *(_cell(panel.records.get((channel, name))) for name in panel.defenses)]
        for channel in panel.channels
    ]
    note = (
        "Strict DSR, in brackets the mean of s. Faces and protected faces go through the channel "
        "alike, in 8 bits, before the deepfake gets them."
    )
    return Section(f"On the way: {panel.title}", note, Table(("channel", *panel.defenses), rows))


def draw_panels(found: Sequence[Panel]) -> Image.Image:
    """Draw panels one below the other; see `draw_panel`.

    Raises:
        ConfigError: there is none.
    """
    if not found:
        raise ConfigError(
            "no record has a channel, whole photos or repeated edits; run `unmorph evaluate` with "
            "--channel, --protocol photo or --repeat"
        )
    pictures = [draw_panel(panel) for panel in found]
    size = (max(p.width for p in pictures), sum(p.height for p in pictures))
    sheet, top = Image.new("RGB", size, "white"), 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


def draw_panel(panel: Panel) -> Image.Image:
    """Draw a panel: each cell coloured by strict DSR, which it names, the mean of s beside it."""
    width = _LABELS + _CELL[0] * len(panel.defenses)
    height = 2 * _LINE + _CELL[1] * len(panel.channels)
    # Wide enough for the title as well.
    font = ImageFont.load_default(_TEXT)
    picture = Image.new(
        "RGB", (max(width, round(font.getlength(panel.title)) + 16), height), "white"
    )
    draw = ImageDraw.Draw(picture)
    draw.text((8, _LINE / 2), panel.title, "black", font, "lm")
    for column, defense in enumerate(panel.defenses):
        x = _LABELS + _CELL[0] * (column + 0.5)
        draw.text((x, _LINE * 1.5), _shortened(defense, font, _CELL[0] - 8), "black", font, "mm")
    for row, channel in enumerate(panel.channels):
        top = 2 * _LINE + _CELL[1] * row
        label = _shortened(channel, font, _LABELS - 16)
        draw.text((8, top + _CELL[1] / 2), label, "black", font, "lm")
        for column, defense in enumerate(panel.defenses):
            record = panel.records.get((channel, defense))
            share = record.mean("suppression", "strict_dsr") if record else None
            colour = (255, 255, 255) if share is None else colour_of(share)
            left = _LABELS + _CELL[0] * column
            box = (left, top, left + _CELL[0] - 2, top + _CELL[1] - 2)
            draw.rectangle(box, colour)
            ink = "black" if sum(colour) > 450 else "white"
            middle = (left + _CELL[0] / 2, top + _CELL[1] / 2)
            draw.text(middle, _cell(record), ink, font, "mm")
    return picture


def colour_of(share: float) -> tuple[int, int, int]:
    """Return the colour of a share from 0 (red) over one half (white) to 1 (blue)."""
    red, green, blue = (round(np.interp(share, (0, 0.5, 1), ends)) for ends in _COLOURS.T)
    return red, green, blue


def _shortened(text: str, font: Any, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _cell(record: Record | None) -> str:
    share = record.mean("suppression", "strict_dsr") if record else None
    if record is None or share is None:
        return "-"
    return f"{100 * share:.1f} % ({record.mean('suppression', 's'):.2f})"


def _channel(record: Record) -> str:
    return str(record.settings.get("channel", NONE))


def _title(record: Record) -> str:
    settings, dataset = record.settings, record.dataset
    if "protocol" in settings:
        # Not the faces: how many the attacker finds depends on the defense and the channel.
        kind = "whole" if settings["protocol"] == "photo" else "composed"
        about, crop = f"{dataset['photos']:,} {kind} photos", [f"crop: {settings['crop']}"]
    else:
        about, crop = f"{dataset['count']:,} faces", []
    part = " ".join(filter(None, (dataset["name"], named(dataset))))
    parts = [f"{part} ({about})", *crop]
    parts.append(str(record.deepfake["name"]))
    if record.deepfake.get("applied", 1) > 1:
        parts.append(f"applied {record.deepfake['applied']} times")
    return ", ".join(parts)

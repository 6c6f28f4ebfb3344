from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from unmorph import channels
from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError
from unmorph.evaluation.heatmap import (
    Panel,
    colour_of,
    draw_panel,
    draw_panels,
    panel_section,
    panels,
)
from unmorph.evaluation.record import Record
from unmorph.evaluation.run import Subject, evaluate
from unmorph.evaluation.tables import build_report


@pytest.fixture
def records(dataset: FaceDataset, subject: Callable[..., Subject]) -> list[Record]:
    """A marked and an unmarked run, each without a channel and blurred."""
    about = {"name": "celeba", "split": "test"}
    return [
        evaluate(
            subject(*defense),
            dataset,
            about_dataset=about,
            metric_names=("l2", "psnr"),
            channel=channels.load(channel) if channel else None,
        )
        for defense in ((), (lambda faces, labels: faces,))
        for channel in ("blur-2", None)
    ]


def on_photos(record: Record, faces: int) -> Record:
    """A record as if of so many faces that an attacker found in six whole photos."""
    settings = {**record.settings, "protocol": "photo", "crop": "box"}
    dataset = {**record.dataset, "photos": 6, "count": faces}
    return replace(record, settings=settings, dataset=dataset)


def test_panel_orders_channels_and_fills_cells(records: list[Record]) -> None:
    (panel,) = panels(records)
    assert panel.channels == ("none", "blur-2")
    assert panel.defenses == ("mark", "none")
    assert panel.title == "celeba (7 faces), tint"
    (of_val,) = panels([replace(r, dataset={**r.dataset, "split": "val"}) for r in records])
    assert of_val.title == "celeba val (7 faces), tint"
    section = panel_section(panel)
    assert section.title == f"On the way: {panel.title}"
    assert section.table.headings == ("channel", "mark", "none")
    assert section.table.rows[0] == ["none", "100.0 % (0.99)", "0.0 % (0.00)"]
    assert section.table.rows[1][:2] == ["blur-2", "0.0 % (0.00)"]


def test_without_channels_there_is_no_panel(records: list[Record]) -> None:
    assert panels([record for record in records if record.settings["channel"] == "none"]) == []


def test_protocols_deepfakes_and_answers_stand_apart(records: list[Record]) -> None:
    photo = on_photos(records[0], faces=8)
    twice = replace(records[0], deepfake={**records[0].deepfake, "applied": 2})
    titles = [panel.title for panel in panels([*records, photo, twice])]
    assert len(titles) == 3
    assert "celeba (6 whole photos), crop: box, tint" in titles
    assert any("applied 2 times" in title for title in titles)


def test_defenses_share_a_panel_whatever_faces_were_found(records: list[Record]) -> None:
    (panel,) = panels([on_photos(records[0], faces=8), on_photos(records[2], faces=7)])
    assert panel.defenses == ("mark", "none")


def test_newest_record_counts(records: list[Record]) -> None:
    newer = replace(records[0], created="2999-01-01T00:00:00+00:00")
    (panel,) = panels([newer, *records])
    assert panel.records["blur-2", "mark"] is newer


def test_missing_cell_is_a_dash(records: list[Record]) -> None:
    (panel,) = panels(records[:3])
    assert panel_section(panel).table.rows[0] == ["none", "100.0 % (0.99)", "-"]


def test_changed_options_name_another_column(records: list[Record]) -> None:
    changed = replace(records[0], defense={"name": "pgd", "changed": {"steps": "10"}})
    (panel,) = panels([*records, changed])
    assert "pgd (steps=10)" in panel.defenses


def test_other_networks_and_settings_stand_apart(records: list[Record]) -> None:
    record = records[0]
    deepfakes = [
        replace(record, deepfake={**record.deepfake, "sha256": f"{digit}234567890"})
        for digit in "ab"
    ]
    assert [panel.title for panel in panels(deepfakes)] == [
        "celeba (7 faces), tint (sha256 a2345678)",
        "celeba (7 faces), tint (sha256 b2345678)",
    ]
    other = replace(record, settings={**record.settings, "seed": 1})
    assert len(panels([record, other])) == 2
    (panel,) = panels([record, replace(record, settings={**record.settings, "limit": 9})])
    assert panel.defenses == ("mark",)

    weaker = replace(record, defense={**record.defense, "epsilon": 0.02})
    (panel,) = panels([record, weaker])
    assert panel.defenses == ("mark", "mark (epsilon=0.02)")
    assert panel.records["blur-2", "mark (epsilon=0.02)"] is weaker

    refined = [
        replace(record, defense={"name": "refine", "generator": {"sha256": f"{digit}234567890"}})
        for digit in "ab"
    ]
    (panel,) = panels(refined)
    assert panel.defenses == ("refine (sha256 a2345678)", "refine (sha256 b2345678)")
    measured = {**record.settings, "metrics": ["l2"], "metric_weights": {"vgg16": "1"}}
    assert len(panels([record, replace(records[1], settings=measured)])) == 1


def pixel(panel: Panel, column: int, row: int) -> tuple[int, ...]:
    picture = np.asarray(draw_panel(panel))
    left, top = 230 + 132 * column, 68 + 44 * row
    return tuple(int(level) for level in picture[top + 3, left + 3])


def test_colours_follow_the_figures(records: list[Record]) -> None:
    (panel,) = panels(records)
    assert pixel(panel, 0, 0) == colour_of(1)
    assert pixel(panel, 0, 1) == colour_of(0)
    (gap,) = panels(records[:3])
    assert pixel(gap, 1, 0) == (255, 255, 255)


def test_colours_differ_and_run_from_red_to_blue() -> None:
    red, middle, blue = (colour_of(share) for share in (0, 0.5, 1))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert min(middle) > 240


def test_long_names_fit_the_picture(records: list[Record]) -> None:
    chain = ">".join(["resize-50", "jpeg-75"] * 6)
    named = replace(records[0], settings={**records[0].settings, "channel": chain})
    (panel,) = panels([named])
    picture = np.asarray(draw_panel(panel))
    # The cell begins where it does for short names: its colour is not written over.
    assert tuple(picture[71, 233]) == colour_of(0)


def test_panels_are_stacked(records: list[Record]) -> None:
    photo = on_photos(records[1], faces=8)
    found = panels([*records, photo])
    pictures = [draw_panel(panel) for panel in found]
    sheet = draw_panels(found)
    assert len(pictures) == 2
    assert sheet.height == sum(picture.height for picture in pictures)
    np.testing.assert_array_equal(
        np.asarray(sheet)[-pictures[1].height :, : pictures[1].width], np.asarray(pictures[1])
    )
    with pytest.raises(ConfigError, match="no record has a channel"):
        draw_panels([])


def test_report_keeps_channels_out_of_the_papers_tables(records: list[Record]) -> None:
    document = build_report(records)
    titles = [section.title for section in document.sections]
    (panel,) = panels(records)
    assert titles.count(panel_section(panel).title) == 1
    runs = document.sections[-1].table.rows
    assert len(runs) == 2
    plain = [record for record in records if record.settings["channel"] == "none"]
    tables = [section.table for section in document.sections if "On the way" not in section.title]
    assert tables == [section.table for section in build_report(plain).sections]

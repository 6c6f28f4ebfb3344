from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from unmorph.training.runlog import RunLog, contact_sheet


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(tmp_path: Path, shown: io.StringIO) -> RunLog:
    return RunLog(tmp_path, Console(file=shown, width=200))


def test_figures_are_averaged_between_reports(log: RunLog, shown: io.StringIO) -> None:
    for loss in (1.0, 2.0, 6.0):
        log.add({"loss": torch.tensor(loss)})
    log.report(3, {"val PSNR": 30.125})
    log.add({"loss": 10})
    log.report(4, {})
    log.report(5, {"val PSNR": 31})
    log.close()
    kept = [json.loads(line) for line in (log.folder / "reports.jsonl").read_text().splitlines()]
    assert kept[0] == {"step": 3, "loss": 3.0, "val PSNR": 30.125}
    assert [report["step"] for report in kept] == [3, 4, 5]
    lines = shown.getvalue().splitlines()
    assert lines == ["step 3  loss 3  val PSNR 30.12", "step 4  loss 10", "step 5  val PSNR 31"]
    events = EventAccumulator(str(log.folder))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(3, 3), (4, 10)]
    assert [e.step for e in events.Scalars("val PSNR")] == [3, 5]


def test_reports_since_the_checkpoint_are_made_again(log: RunLog) -> None:
    log.report(1, {"val s": 0.5})
    log.add({"loss": torch.tensor(1.0)})
    state = log.state()
    log.add({"loss": torch.tensor(2.0)})
    log.report(3, {})
    log.close()
    again = RunLog(log.folder, Console(file=io.StringIO()))
    again.restore(state)
    again.add({"loss": torch.tensor(4.0)})
    again.report(3, {})
    again.close()
    kept = [json.loads(line) for line in (log.folder / "reports.jsonl").read_text().splitlines()]
    assert kept == [{"step": 1, "val s": 0.5}, {"step": 3, "loss": 2.5}]


def test_the_bar_tells_losses_and_the_last_figures_on_val(log: RunLog) -> None:
    log.add({"adv": 1.0})
    log.add({"adv": 3.0})
    assert log.live() == "adv 2"
    log.report(2, {"val strict DSR": 0.25, "minutes": 1.0})
    log.add({"adv": 1.5})
    assert log.live() == "adv 1.5  val strict DSR 0.25"


def test_a_share_of_nothing_is_null_in_the_file(log: RunLog) -> None:
    log.report(1, {"val s": float("nan")})
    assert json.loads((log.folder / "reports.jsonl").read_text()) == {"step": 1, "val s": None}


def test_pictures_are_kept(log: RunLog) -> None:
    for value in (0, 200):
        log.picture("edits", value, np.full((4, 6, 3), value, np.uint8))
    log.close()
    with Image.open(log.folder / "edits.png") as latest:
        assert latest.size == (6, 4)
        assert latest.getpixel((0, 0)) == (200, 200, 200)
    events = EventAccumulator(str(log.folder))
    events.Reload()
    assert [e.step for e in events.Images("edits")] == [0, 200]


def test_the_bar_begins_where_the_run_does(log: RunLog) -> None:
    with log.progress("training", 30, 100) as bar:
        assert (bar.tasks[0].completed, bar.tasks[0].total) == (30, 100)


def test_contact_sheet_places_rows_below_each_other() -> None:
    faces = [torch.full((3, 2, 2), value) for value in (-1.0, 0.0, 1.0, 2.0)]
    sheet = contact_sheet([faces[:2], faces[2:]])
    assert sheet.shape == (4, 4, 3)
    assert sheet[:, :, 0].tolist() == [
        [0, 0, 128, 128],
        [0, 0, 128, 128],
        [255, 255, 255, 255],
        [255, 255, 255, 255],
    ]


def test_contact_sheet_fills_short_rows_with_grey() -> None:
    white = torch.ones(3, 1, 1)
    assert contact_sheet([[white, white], [white]])[:, :, 0].tolist() == [[255, 255], [255, 128]]

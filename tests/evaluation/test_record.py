from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unmorph.datasets.base import FaceDataset
from unmorph.errors import DataError
from unmorph.evaluation.record import Record, is_current, read_record, write_json, write_record
from unmorph.evaluation.run import Subject, evaluate
from unmorph.evaluation.tables import render_summary


@pytest.fixture
def record(dataset: FaceDataset, subject: Callable[..., Subject]) -> Record:
    about = {"name": "celeba", "split": "test"}
    options = {"metric_names": ("l2", "psnr")}
    return evaluate(subject(), dataset, about_dataset=about, **options)  # type: ignore[arg-type]


def test_round_trip(record: Record, tmp_path: Path) -> None:
    write_record(record, tmp_path / "results" / "x.json")
    assert read_record(tmp_path / "results" / "x.json") == record
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["x.json"]


def test_a_record_that_cannot_be_written(record: Record, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here already")
    for path in (tmp_path, tmp_path / "file" / "x.json"):
        with pytest.raises(DataError, match=rf"{path}: cannot be written: "):
            write_record(record, path)


def test_record_says_how_it_came_about(record: Record) -> None:
    assert record.dataset["count"] == 7
    assert all(len(digest) == 64 for digest in record.dataset["files"].values())
    assert record.machine["device"] == "cpu"
    assert {"python", "torch", "numpy", "unmorph"} <= set(record.versions)
    assert record.settings["precision"] == "float32"
    assert record.seconds >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99, this unmorph reads 2; run `unmorph evaluate`"),
        ({"surprise": 1}, "surprise missing or unknown"),
        ({"figures": {"input": {"l2": {}}}}, "figures are malformed"),
    ],
)
def test_other_layouts_are_refused(
    record: Record, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "x.json"
    write_record(record, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        read_record(path)


@pytest.mark.parametrize("text", ["", "[]", '{"figures": {}}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json: not a record of `unmorph evaluate`"):
        read_record(tmp_path / "x.json")


def test_summary_shows_the_figures_that_matter(record: Record) -> None:
    lines = render_summary(record).splitlines()
    assert any(line.startswith("edit suppression s") and "0.99" in line for line in lines)


def test_a_record_is_current_while_everything_intended_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json("tuning", {"settings": {"grid": {"steps": ["1", "2"]}, "seed": 0}, "best": 3}, path)
    assert is_current(path, "tuning", {})
    assert is_current(path, "tuning", {"settings": {"seed": 0}})
    assert is_current(path, "tuning", {"settings": {"grid": {"steps": ("1", "2")}}})
    assert not is_current(path, "tuning", {"settings": {"seed": 1}})
    assert not is_current(path, "tuning", {"settings": {"grid": {"steps": ["1"]}}})
    assert not is_current(path, "tuning", {"absent": 1})
    assert not is_current(path, "timing", {})
    assert not is_current(tmp_path / "absent.json", "tuning", {})
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    assert not is_current(path, "tuning", {})
    path.write_text("{")
    assert not is_current(path, "tuning", {})

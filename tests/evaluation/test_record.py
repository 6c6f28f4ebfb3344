from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from unmorph.datasets.base import FaceDataset
from unmorph.errors import DataError
from unmorph.evaluation.record import Record, is_current, read_record, write_record
from unmorph.evaluation.run import Subject, evaluate
from unmorph.evaluation.tables import render_summary

JUDGE = {"file": "judge.onnx", "sha256": "0" * 64}


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
        ({"figures": {"input": {"l2": {}}}}, r"figures\.input\.l2\.overall: Field required"),
        ({"dataset": {"name": "x"}}, r"dataset\.count: Field required"),
        ({"machine": {"device": 1}}, r"machine\.device: Input should be a valid string"),
        ({"deepfake": {"name": "x", "edits": ["Hat"]}}, r"no figures\.unprotected\.l2 of every"),
        ({"judge": {"file": "judge.onnx"}}, r"judge\.sha256: Field required"),
        ({"settings": {"labels": "annotators"}}, r"settings\.seed: Field required"),
        ({"judge": JUDGE}, r"no figures\.edit_success\.untouched of every edit"),
        ({"kind": "timing"}, "methods"),
        ({"kind": "x"}, "expected one of evaluation, timing, tuning"),
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


@pytest.mark.parametrize("count", [-1, "7", 7.5, None])
def test_a_count_is_a_count(record: Record, tmp_path: Path, count: object) -> None:
    path = tmp_path / "x.json"
    write_record(record, path)
    content = json.loads(path.read_text())
    content["dataset"]["count"] = count
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"x\.json: a damaged record, dataset\.count: "):
        read_record(path)
    with pytest.raises(DataError, match=r"y\.json: a damaged record, dataset\.count: "):
        write_record(replace(record, dataset=content["dataset"]), tmp_path / "y.json")
    assert not (tmp_path / "y.json").exists()


def test_summary_shows_the_figures_that_matter(record: Record) -> None:
    lines = render_summary(record).splitlines()
    assert any(line.startswith("edit suppression s") and "0.99" in line for line in lines)


def test_a_record_is_current_while_everything_intended_is_in_it(
    record: Record, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    write_record(replace(record, settings={**record.settings, "grid": {"a": ["1", "2"]}}), path)
    assert is_current(path, "evaluation", {})
    assert is_current(path, "evaluation", {"settings": {"seed": 0}})
    assert is_current(path, "evaluation", {"settings": {"grid": {"a": ("1", "2")}}})
    assert not is_current(path, "evaluation", {"settings": {"seed": 1}})
    assert not is_current(path, "evaluation", {"settings": {"grid": {"a": ["1"]}}})
    assert not is_current(path, "evaluation", {"absent": 1})
    assert not is_current(path, "evaluation", {"settings": {"grid": {}}})
    assert is_current(path, "evaluation", {"settings": {"absent": None}})
    assert not is_current(path, "evaluation", {"settings": {"seed": None}})
    assert not is_current(path, "timing", {})
    assert not is_current(tmp_path / "absent.json", "evaluation", {})
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    assert not is_current(path, "evaluation", {})
    path.write_text("{")
    assert not is_current(path, "evaluation", {})


def test_a_network_is_told_by_its_sha256(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    known = {"name": "stargan", "origin": "trained by unmorph", "file": "a.onnx", "sha256": "1"}
    write_record(replace(record, deepfake={**record.deepfake, **known}), path)
    copied = {**record.deepfake, **known, "origin": "given file", "file": "copy.onnx"}
    assert is_current(path, "evaluation", {"deepfake": copied})
    assert not is_current(path, "evaluation", {"deepfake": {**copied, "sha256": "2"}})
    assert not is_current(path, "evaluation", {"deepfake": {**copied, "name": "other"}})


def test_whoever_took_part_is_told_whole(record: Record, tmp_path: Path) -> None:
    path, faces = tmp_path / "x.json", {"lists": {"list.txt": "1"}}
    intended = {"deepfake": record.deepfake, "dataset": {**record.dataset, **faces}}
    write_record(record, path)
    assert is_current(path, "evaluation", intended)  # made before records had lists
    write_record(replace(record, dataset=intended["dataset"]), path)
    assert is_current(path, "evaluation", intended)
    other = {**intended, "dataset": {"lists": {"list.txt": "2"}}}
    assert not is_current(path, "evaluation", other)
    write_record(replace(record, deepfake={**record.deepfake, "applied": 2}), path)
    assert not is_current(path, "evaluation", intended)

"""``unmorph evaluate`` with channels and whole photos, and the heat map of its records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from unmorph.cli import app
from unmorph.evaluation.record import Record, read_record


@pytest.fixture
def faces(portrait: NDArray[np.uint8], tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(portrait[index:, :400]).save(folder / f"{index}.png")
    return folder


def test_records_of_channels_become_a_heat_map(
    faces: Path, deepfake_file: Path, defense_file: Path, classifier_file: Path, tmp_path: Path
) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    common = ["--data", faces, "--dataset", "folder", "--deepfake", deepfake_file]
    common += ["--defense", defense_file, "--labeller", classifier_file, "--metrics", "fast"]
    common += ["--judge", classifier_file]
    paths = [tmp_path / f"{name}.json" for name in ("plain", "sent", "twice", "photo")]
    run("evaluate", *common, "-o", paths[0])
    run("evaluate", *common, "-o", paths[1], "--channel", "jpeg-75")
    run("evaluate", *common, "-o", paths[2], "--repeat", 2)
    journey = ["--channel", "messenger", "--crop", "jitter", "--saved-as", "png"]
    run("evaluate", *common, "-o", paths[3], "--protocol", "photo", *journey)

    records = [read_record(path) for path in paths]
    assert all(isinstance(record, Record) for record in records)
    plain, sent, twice, photo = (record for record in records if isinstance(record, Record))
    assert plain.settings["channel"] == "none"
    assert sent.settings["channel"] == "jpeg-75"
    assert sent.figures["input"] == plain.figures["input"]
    assert sent.figures["output"] != plain.figures["output"]
    assert twice.deepfake["applied"] == 2
    assert photo.settings["crop"] == "jitter"
    assert photo.dataset["photos"] == 2
    assert photo.dataset["count"] == 2

    run("figure", "heatmap", *paths, "-o", tmp_path / "map.png")
    run("report", *paths, "-o", tmp_path / "report.md", "--picture", tmp_path / "map.png")
    text = (tmp_path / "report.md").read_text()
    assert "![Strict DSR" in text
    assert "| jpeg-75 |" in text
    assert "whole photos), crop: jitter" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--channel", "magic"], "unknown channel 'magic'"),
        (["--protocol", "photo", "--channel", "shift+3"], "choose --crop jitter"),
        (["--protocol", "magic"], "unknown protocol 'magic'"),
        (["--protocol", "photo", "--crop", "magic"], "unknown crop 'magic'"),
    ],
)
def test_wrong_choices(
    faces: Path,
    deepfake_file: Path,
    defense_file: Path,
    classifier_file: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
) -> None:
    command = ["evaluate", "--data", faces, "--dataset", "folder", "-o", tmp_path / "x.json"]
    command += ["--deepfake", deepfake_file, "--defense", defense_file]
    command += ["--labeller", classifier_file, "--judge", classifier_file]
    command += ["--metrics", "fast", *options]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "x.json").exists()

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from unmorph import runtime
from unmorph.attributes import ATTRIBUTES
from unmorph.cli import app
from unmorph.samples import PORTRAIT


@pytest.fixture
def shipped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    defense_file: Path,
    deepfake_file: Path,
    classifier_file: Path,
) -> Path:
    """The tiny networks in the place of the shipped ones."""
    shutil.copy(deepfake_file, tmp_path)
    monkeypatch.setattr(runtime, "SHIPPED", tmp_path)
    monkeypatch.setattr(runtime, "CLASSIFIER", classifier_file)
    monkeypatch.setitem(runtime.DEFENSES, "subtle", defense_file)
    return tmp_path


def test_draws_one_picture(shipped: Path) -> None:
    out = shipped / "pictures" / "demo.png"
    result = CliRunner().invoke(app, ["demo", "-o", str(out), "--threads", "1"])
    assert result.exit_code == 0, result.output
    for edit in ATTRIBUTES:
        assert f"{edit:11} moved the face by 0.0" in result.output
    with Image.open(out) as picture:
        assert picture.width > picture.height > 3 * 128


def test_refined(shipped: Path, gradient_file: Path) -> None:
    shutil.copy(gradient_file, shipped)
    plain, refined = shipped / "plain.png", shipped / "refined.png"
    for out, steps in ((plain, "0"), (refined, "3")):
        command = ["demo", "-o", str(out), "--refine", steps, "--threads", "1"]
        assert CliRunner().invoke(app, command).exit_code == 0
    assert plain.read_bytes() != refined.read_bytes()


def test_missing_network(shipped: Path) -> None:
    (shipped / "stargan.onnx").unlink()
    result = CliRunner().invoke(app, ["demo", "-o", str(shipped / "demo.png")])
    assert result.exit_code == 1
    assert "stargan.onnx: no such network" in result.output
    assert not (shipped / "demo.png").exists()


def test_never_replaces_the_photo(shipped: Path) -> None:
    photo = shipped / "me.jpg"
    shutil.copy(PORTRAIT, photo)
    result = CliRunner().invoke(app, ["demo", str(photo), "-o", str(shipped / "." / "me.jpg")])
    assert result.exit_code == 2
    assert "is read" in result.output
    assert photo.read_bytes() == PORTRAIT.read_bytes()


def test_replaces_a_picture_only_where_asked(shipped: Path) -> None:
    out = shipped / "holiday.png"
    out.write_bytes(b"another photo")
    command = ["demo", "-o", str(out), "--threads", "1"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.output
    assert out.read_bytes() == b"another photo"
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0
    with Image.open(out) as picture:
        assert picture.width > picture.height


def test_a_photo_without_a_face_is_named(shipped: Path) -> None:
    photo = shipped / "plain.png"
    Image.linear_gradient("L").save(photo)
    result = CliRunner().invoke(app, ["demo", str(photo), "-o", str(shipped / "demo.png")])
    assert result.exit_code == 1
    assert "plain.png: no face found; choose a photo that shows one" in result.output


def test_unknown_suffix_is_refused_before_the_work(shipped: Path) -> None:
    result = CliRunner().invoke(app, ["demo", str(shipped / "absent.jpg"), "-o", "demo.txt"])
    assert result.exit_code == 2
    assert "demo.txt: choose a suffix of" in result.output


def test_folder_that_cannot_be_made_is_told_at_once(shipped: Path) -> None:
    (shipped / "file").touch()
    out = shipped / "file" / "demo.png"
    result = CliRunner().invoke(app, ["demo", "-o", str(out), "--threads", "1"])
    assert result.exit_code == 2
    assert "is no folder to write in" in " ".join(re.sub("[│╭╮╰╯─]", "", result.output).split())

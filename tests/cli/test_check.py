from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from PIL import Image
from typer.testing import CliRunner, Result

from unmorph import runtime
from unmorph.attributes import ATTRIBUTES
from unmorph.checking import Checker, FaceCheck
from unmorph.cli import app
from unmorph.faces.crop import crop_square, frame
from unmorph.faces.detect import FaceDetector
from unmorph.photo import Photo, read, write
from unmorph.protector import Protector
from unmorph.samples import PORTRAIT


@pytest.fixture
def shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deepfake_file: Path, classifier_file: Path
) -> Path:
    """The tiny networks in the place of the shipped ones; no defense stops this deepfake."""
    shutil.copy(deepfake_file, tmp_path)
    monkeypatch.setattr(runtime, "SHIPPED", tmp_path)
    monkeypatch.setattr(runtime, "CLASSIFIER", classifier_file)
    return tmp_path


@pytest.fixture
def protected(tmp_path: Path, protector: Protector) -> Path:
    """The sample portrait, protected by the tiny defense."""
    path = tmp_path / "protected.png"
    write(Photo(protector.protect(read(PORTRAIT).pixels)), path)
    return path


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", "--threads", "1", *map(str, arguments)])


def brighten_bright_faces(shipped: Path, save_network: object) -> None:
    """Replace the deepfake by one that gives back faces darker than the portrait's."""
    assert callable(save_network)
    pixels = read(PORTRAIT).pixels
    (face,) = FaceDetector(threads=1).detect(pixels)
    level = crop_square(pixels, frame(face.landmarks)).mean()
    nodes = [
        helper.make_node("ReduceMean", ["faces"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("GreaterOrEqual", ["mean", "level"], ["bright"]),
        helper.make_node("Cast", ["bright"], ["gate"], to=1),
        helper.make_node("ReduceMax", ["targets"], ["most"], axes=[0, 1], keepdims=0),
        helper.make_node("Mul", ["gate", "light"], ["added"]),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["added", "nothing"], ["change"]),
        helper.make_node("Add", ["faces", "change"], ["edited"]),
    ]
    file = save_network(
        "gate.onnx",
        nodes,
        {"level": level, "light": 0.3, "zero": 0.0},
        ("edited", ("N", 3, 128, 128)),
        targets=True,
    )
    shutil.copy(file, shipped / "stargan.onnx")


def test_not_protected(shipped: Path, protected: Path) -> None:
    result = check(PORTRAIT, protected)
    assert result.exit_code == 3, result.output
    lines = result.output.strip().splitlines()
    assert re.fullmatch(
        r"StarGAN, face of \d+ pixels at \d+, \d+: 0 of \d edits stopped; "
        r"after JPEG 75: 0 of \d; after messenger: 0 of \d",
        lines[0],
    )
    for edit, line in zip(ATTRIBUTES, lines[2:7], strict=True):
        assert line.split()[0] == edit
    assert lines[-1] == f"{protected}: NOT PROTECTED: the edits come through"


def test_protected(shipped: Path, save_network: object) -> None:
    brighten_bright_faces(shipped, save_network)
    pixels = read(PORTRAIT).pixels.astype(np.int16)
    dark, light = shipped / "dark.png", shipped / "light.png"
    write(Photo((pixels - 10).clip(0, 255).astype(np.uint8)), dark)
    write(Photo((pixels + 10).clip(0, 255).astype(np.uint8)), light)
    result = check(light, dark)
    assert result.exit_code == 0, result.output
    assert "StarGAN, face of" in result.output
    assert "5 of 5 edits stopped; after JPEG 75: 5 of 5; after messenger: 5 of 5" in result.output
    assert result.output.strip().endswith(f"{dark}: PROTECTED")
    alone = check(dark)
    assert alone.exit_code == 0, alone.output
    assert "4 of 4 edits stopped" in alone.output
    assert "only the original can tell" in alone.output
    assert check(light).exit_code == 3


def test_json(shipped: Path, protected: Path) -> None:
    result = check(PORTRAIT, protected, "--json", "--channel", "none", "--channel", "jpeg-50")
    assert result.exit_code == 3
    record = json.loads(result.stdout)
    assert record["photo"] == str(PORTRAIT)
    assert record["protected"] == str(protected)
    assert record["verdict"] == "not protected"
    (face,) = record["faces"]
    assert list(face["channels"]) == ["none", "jpeg-50"]
    for edit in face["channels"]["jpeg-50"]:
        assert edit["suppression"] == pytest.approx(1 - edit["after"] / edit["before"])


def test_picture(shipped: Path, protected: Path) -> None:
    out = shipped / "new" / "proof.png"
    result = check(PORTRAIT, protected, "--channel", "none", "--save", out)
    assert result.exit_code == 3, result.output
    assert f"See {out}" in result.output
    with Image.open(out) as picture:
        assert picture.width > picture.height > 3 * 128
    again = check(PORTRAIT, protected, "--channel", "none", "--save", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert check(PORTRAIT, protected, "--save", out, "--overwrite").exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [PORTRAIT, "--save", "x.png"],
        [PORTRAIT, PORTRAIT, "--save", PORTRAIT],
        [PORTRAIT, PORTRAIT, "--save", "x.txt"],
        [PORTRAIT, PORTRAIT, "--save", PORTRAIT / "x.png"],
        [PORTRAIT, "--channel", "fax"],
        [PORTRAIT, "a", "b"],
    ],
)
def test_wrong_usage(shipped: Path, arguments: list[str | Path]) -> None:
    assert check(*arguments).exit_code == 2


@pytest.mark.parametrize("channel", ["jitter", "shift+3", "jpeg-75>zoom+2", "turn+2>blur-1"])
def test_channels_that_move_the_face_prove_nothing(shipped: Path, channel: str) -> None:
    result = check(PORTRAIT, PORTRAIT, "--channel", channel)
    assert result.exit_code == 2
    assert f"channel '{channel}' moves faces" in result.output
    assert "choose from none, avif, " in result.output
    assert "turn" not in result.output.split("choose from")[1]


def test_could_not_check(shipped: Path) -> None:
    empty = shipped / "empty.png"
    Image.linear_gradient("L").save(empty)
    for arguments in ([empty], [shipped / "absent.png"], [PORTRAIT, empty]):
        result = check(*arguments)
        assert result.exit_code == 1, result.output
        assert str(arguments[-1]) in result.output
        record = json.loads(check(*arguments, "--json").stdout)
        assert (record["verdict"], record["faces"]) == (None, [])
        assert str(arguments[-1]) in record["error"]
    (shipped / "stargan.onnx").unlink()
    assert check(PORTRAIT).exit_code == 1


def test_edits_that_do_nothing(shipped: Path, save_network: object) -> None:
    assert callable(save_network)
    nodes = [
        helper.make_node("ReduceMax", ["targets"], ["most"], axes=[0, 1], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["faces", "nothing"], ["edited"]),
    ]
    output = ("edited", ("N", 3, 128, 128))
    file = save_network("idle.onnx", nodes, {"zero": 0.0}, output, targets=True)
    shutil.copy(file, shipped / "stargan.onnx")
    result = check(PORTRAIT, PORTRAIT)
    assert result.exit_code == 1
    assert "cannot be judged" in result.output


def test_faces_that_edits_do_not_change_are_told(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Checker.check

    def one_more(*arguments: Any) -> list[FaceCheck]:
        checks = checked(*arguments)
        idle = {
            name: tuple(replace(edit, before=0.0, after=0.0) for edit in edits)
            for name, edits in checks[0].channels.items()
        }
        return [*checks, replace(checks[0], channels=idle)]

    before = check(PORTRAIT, PORTRAIT).output.splitlines()[-1]
    monkeypatch.setattr(Checker, "check", one_more)
    result = check(PORTRAIT, PORTRAIT)
    assert result.exit_code == 3
    assert result.output.splitlines()[-1] == f"{before} (but for 1 of 2 faces, not judged)"
    assert "cannot be judged, the edits hardly change it" in result.output

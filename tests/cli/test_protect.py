from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from typer.testing import CliRunner, Result

from unmorph.cli import app
from unmorph.photo import read
from unmorph.protector import Protector
from unmorph.samples import PORTRAIT

SIZE = (256, 256)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in."""
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


Run = Callable[..., Result]


@pytest.fixture
def protect(defense_file: Path) -> Run:
    """Return a function that runs ``unmorph protect`` with the tiny defense."""

    def run(*arguments: str | Path) -> Result:
        options = ["protect", "--weights", str(defense_file), "--threads", "1"]
        return CliRunner().invoke(app, options + [str(argument) for argument in arguments])

    return run


def portrait_at(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(PORTRAIT) as image:
        image.resize(SIZE).save(path, **options)
    return path


def landscape_at(path: Path) -> Path:
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_writes_a_png_beside_the_photo(folder: Path, protect: Run, defense_file: Path) -> None:
    photo = portrait_at(folder / "jane.jpg")
    original = photo.read_bytes()
    result = protect(photo)
    assert result.exit_code == 0, result.output
    target = folder / "jane-protected.png"
    assert re.fullmatch(
        rf"{re.escape(str(photo))}: 1 face, \d\d\.\d dB, \d+\.\d\d s -> {re.escape(str(target))}",
        result.output.strip().replace("\n", ""),
    )
    assert names(folder) == ["jane-protected.png", "jane.jpg"]
    assert photo.read_bytes() == original
    expected = Protector.load(defense_file, threads=1).protect(read(photo).pixels)
    np.testing.assert_array_equal(read(target).pixels, expected)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg", ".tiff"])
def test_names_the_result(folder: Path, protect: Run, suffix: str) -> None:
    photo = portrait_at(folder / "jane.png")
    result = protect(photo, "-o", folder / "new" / f"out{suffix}")
    assert result.exit_code == 0, result.output
    assert read(folder / "new" / f"out{suffix}").pixels.shape == (*SIZE, 3)


def test_folder_with_its_subfolders(folder: Path, protect: Run) -> None:
    portrait_at(folder / "a.jpg")
    portrait_at(folder / "trip" / "b.webp")
    (folder / "notes.txt").write_text("not a photo")
    out = folder.parent / "out"
    result = protect(folder, "-o", out)
    assert result.exit_code == 0, result.output
    assert names(out) == ["a.png", "trip/b.png"]


def test_second_run_leaves_results_alone(folder: Path, protect: Run) -> None:
    portrait_at(folder / "a.jpg")
    assert protect(folder).exit_code == 0
    assert protect(folder).exit_code == 0
    assert names(folder) == ["a-protected.png", "a.jpg"]


def test_same_names_stay_apart(folder: Path, protect: Run) -> None:
    photos = [portrait_at(folder / name) for name in ("a.jpg", "a.webp", "sub/a.jpg")]
    out = folder.parent / "out"
    result = protect(*photos, photos[0], "-o", out)
    assert result.exit_code == 0, result.output
    assert names(out) == ["a-2.png", "a-3.png", "a.png"]


def test_never_overwrites_an_original(folder: Path, protect: Run) -> None:
    photo, other = portrait_at(folder / "a.png"), portrait_at(folder / "b.jpg")
    original = photo.read_bytes()
    assert protect(photo, "-o", photo).exit_code == 1
    result = protect(photo, other, "-o", folder)
    assert result.exit_code == 1
    assert "is an original" in result.output
    assert photo.read_bytes() == original
    assert names(folder) == ["a.png", "b.jpg", "b.png"]


def test_failures_do_not_stop_the_others(folder: Path, protect: Run) -> None:
    broken, text = folder / "broken.jpg", folder / "text.jpg"
    good = portrait_at(folder / "good.jpg")
    broken.write_bytes(good.read_bytes()[:2000])
    text.write_text("hello")
    empty = landscape_at(folder / "empty.png")
    result = protect(broken, text, empty, folder / "absent.jpg", good)
    assert result.exit_code == 1
    lines = result.output.strip().splitlines()
    assert len(lines) == 5
    for name, line in zip(("broken", "text", "empty", "absent", "good"), lines, strict=True):
        assert f"{name}." in line
    assert (folder / "good-protected.png").is_file()


def test_no_face_has_its_own_exit_code(folder: Path, protect: Run) -> None:
    empty, good = landscape_at(folder / "empty.png"), portrait_at(folder / "good.jpg")
    result = protect(empty, good)
    assert result.exit_code == 4
    assert "empty.png: no face found, nothing written" in result.output
    assert names(folder) == ["empty.png", "good-protected.png", "good.jpg"]


def test_folder_without_photos(folder: Path, protect: Run) -> None:
    result = protect(folder)
    assert result.exit_code == 1
    assert "no photos in" in result.output


@pytest.mark.parametrize(
    "arguments", [[], ["a.jpg", "b.jpg", "-o", "one.png"], ["a.jpg", "--keep-location"]]
)
def test_wrong_usage(protect: Run, arguments: list[str]) -> None:
    assert protect(*arguments).exit_code == 2


def test_upright_with_its_notes(folder: Path, protect: Run) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "Jane Doe"
    photo = folder / "phone.jpg"
    with Image.open(PORTRAIT) as image:  # lying on its side, as phones store it
        image.crop((0, 0, 512, 400)).transpose(Image.Transpose.ROTATE_90).save(photo, exif=exif)
    assert protect(photo, "--keep-metadata").exit_code == 0
    with Image.open(folder / "phone-protected.png") as image:
        assert image.size == (512, 400)
        assert image.getexif()[ExifTags.Base.Artist] == "Jane Doe"
        assert ExifTags.Base.Orientation not in image.getexif()


def test_unusable_weights(folder: Path) -> None:
    photo = portrait_at(folder / "a.jpg")
    result = CliRunner().invoke(app, ["protect", str(photo), "--weights", str(photo)])
    assert result.exit_code == 1
    assert "not a usable ONNX network" in result.output
    assert names(folder) == ["a.jpg"]

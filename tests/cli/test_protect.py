from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from typer.testing import CliRunner, Result

from unmorph import runtime
from unmorph.cli import app
from unmorph.cli import protect as cli_protect
from unmorph.cli._progress import progress
from unmorph.journal import JOURNAL
from unmorph.photo import decode, read
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
        options = ["protect", "--weights", str(defense_file), "--workers", "1"]
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
    """Return the files below a folder, without the journal."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != JOURNAL)
    return sorted(str(path.relative_to(folder)) for path in files)


def test_writes_beside_the_photo(folder: Path, protect: Run, defense_file: Path) -> None:
    photo = portrait_at(folder / "jane.png")
    original = photo.read_bytes()
    result = protect(photo)
    assert result.exit_code == 0, result.output
    target = folder / "jane-protected.png"
    assert re.fullmatch(
        rf"{re.escape(str(photo))}: 1 face, \d\d\.\d dB, \d+\.\d\d s, \d\.\d times the size "
        rf"-> {re.escape(str(target))}",
        result.output.strip().replace("\n", ""),
    )
    assert names(folder) == ["jane-protected.png", "jane.png"]
    assert photo.read_bytes() == original
    expected = Protector.load(defense_file, threads=1).protect(read(photo).pixels)
    np.testing.assert_array_equal(read(target).pixels, expected)


def test_strength_names_a_shipped_defense(
    folder: Path, protect: Run, defense_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtime.DEFENSES, "strong", defense_file)
    photo = portrait_at(folder / "jane.png")
    result = CliRunner().invoke(app, ["protect", str(photo), "--strength", "strong"])
    assert result.exit_code == 0, result.output
    expected = Protector.load(defense_file).protect(read(photo).pixels)
    np.testing.assert_array_equal(read(folder / "jane-protected.png").pixels, expected)
    both = protect(photo, "--strength", "strong")
    assert both.exit_code == 2
    assert "choose one" in both.output
    unknown = CliRunner().invoke(app, ["protect", str(photo), "--strength", "mighty"])
    assert unknown.exit_code == 2
    assert "unknown strength 'mighty'; choose one of subtle, strong" in unknown.output


def test_refines_where_asked(
    folder: Path,
    protect: Run,
    defense_file: Path,
    gradient_file: Path,
    classifier_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "SHIPPED", folder / "networks")
    runtime.SHIPPED.mkdir()
    shutil.copy(gradient_file, runtime.SHIPPED)
    monkeypatch.setattr(runtime, "CLASSIFIER", classifier_file)
    photo = portrait_at(folder / "album" / "jane.png")
    for refine in (0, 3):
        result = protect(folder / "album", "-o", folder / "out", "--refine", str(refine))
        assert result.exit_code == 0, result.output
        assert "1 face" in result.output  # it is done again with other steps
        steps = iter(range(100))
        protector = Protector.load(
            defense_file, refine=refine, threads=1, on_step=partial(next, steps)
        )
        found = read(folder / "out" / "jane.png").pixels
        np.testing.assert_array_equal(found, protector.protect(read(photo).pixels))
        assert next(steps) == refine
    plain = Protector.load(defense_file, threads=1).protect(read(photo).pixels)
    assert (found != plain).any()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.jpg", [], "a-protected.png"),
        ("a.PNG", [], "a-protected.PNG"),
        ("a.JPG", ["--format", "same"], "a-protected.JPG"),
        ("a.webp", ["--format", "same"], "a-protected.webp"),
        ("a.bmp", ["--format", "same"], "a-protected.png"),
        ("a.gif", ["--format", "same"], "a-protected.png"),
        ("a.png", ["--format", "jpeg"], "a-protected.jpg"),
        ("a.jpeg", ["--format", "jpeg"], "a-protected.jpeg"),
    ],
)
def test_container(
    folder: Path, protect: Run, name: str, options: list[str], expected: str
) -> None:
    portrait_at(folder / name)
    result = protect(folder / name, *options)
    assert result.exit_code == 0, result.output
    assert names(folder) == sorted([name, expected])
    suffix = Path(expected).suffix.lower()
    assert read(folder / expected).format == {".jpg": "jpeg"}.get(suffix, suffix[1:])


def test_quality(folder: Path, protect: Run) -> None:
    photo = portrait_at(folder / "a.jpg")
    sizes = []
    for quality in ("95", "50"):
        assert (
            protect(photo, "--format", "same", "--quality", quality, "--overwrite").exit_code == 0
        )
        sizes.append((folder / "a-protected.jpg").stat().st_size)
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.jpg"],
        ["a.jpg", "-o", "b.png"],
        ["a.jpg", "-o", "b.tif"],
        ["a.jpg", "--format", "tiff"],
        ["a.jpg", "-o", "-"],
        ["a.png", "--format", "same"],
        ["a.png", "--format", "same", "-o", "-"],
    ],
)
def test_quality_of_what_has_none(
    folder: Path, protect: Run, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    portrait_at(folder / arguments[0])
    result = protect(*arguments, "--quality", "90")
    assert result.exit_code == 2
    assert "choose --format jpeg, webp" in " ".join(result.output.replace("│", "").split())
    assert names(folder) == arguments[:1]


def test_quality_of_a_mixed_folder(folder: Path, protect: Run) -> None:
    portrait_at(folder / "a.jpg")
    portrait_at(folder / "b.png")
    out = folder.parent / "out"
    result = protect(folder, "--format", "same", "--quality", "50", "-o", out)
    assert result.exit_code == 0, result.output
    assert names(out) == ["a.jpg", "b.png"]
    assert (out / "a.jpg").stat().st_size < (out / "b.png").stat().st_size / 4


def test_says_what_was_left_behind(folder: Path, protect: Run) -> None:
    with Image.open(PORTRAIT) as image:
        image.resize(SIZE).save(
            folder / "film.webp", save_all=True, append_images=[Image.new("RGB", SIZE)]
        )
    assert "only the first of 2 frames" in protect(folder / "film.webp").output


def test_largest_face_and_box(folder: Path, protect: Run) -> None:
    photo = folder / "two.png"
    with Image.open(PORTRAIT) as image:
        pair = Image.new("RGB", (SIZE[0] * 3, SIZE[1] * 2), "grey")
        pair.paste(image.resize((2 * SIZE[0], 2 * SIZE[1])))
        pair.paste(image.resize(SIZE), (2 * SIZE[0], SIZE[1] // 2))
        pair.save(photo)
    assert ": 2 faces" in protect(photo).output
    assert ": 1 face," in protect(photo, "--faces", "largest", "--overwrite").output
    assert ": 2 faces" in protect(photo, "--faces", "5", "--overwrite").output
    boxes = ("--box", "20,420,60,80", "--box=10,10,40,50")
    result = protect(photo, *boxes, "--faces", "0", "-o", folder / "b.png")
    assert ": 2 faces" in result.output
    change = (read(folder / "b.png").pixels != read(photo).pixels).any(axis=2)
    assert change[420:500, 20:80].any()
    assert not change[:, 200:].any()
    assert ": 4 faces" in protect(photo, *boxes, "-o", folder / "c.png").output
    outside = protect(photo, "--box", "5000,5000,50,50", "-o", folder / "d.png")
    assert outside.exit_code == 1
    assert "the box from 5000,5000 to 5050,5050 lies outside the photo of" in outside.output
    assert protect(photo, "--faces", "0").exit_code == 2


def test_replaces_no_file(folder: Path, protect: Run) -> None:
    photo = portrait_at(folder / "a.jpg")
    for mine in (folder / "a-protected.png", folder / "b.png", folder.parent / "out" / "a.png"):
        portrait_at(mine)
    before = mine.read_bytes()
    for arguments in ((photo,), (photo, "-o", folder / "b.png"), (folder, "-o", mine.parent)):
        result = protect(*arguments)
        assert result.exit_code == 1
        assert "is there already" in result.output
    assert mine.read_bytes() == before
    assert protect(folder, "-o", mine.parent, "--overwrite").exit_code == 0
    assert mine.read_bytes() != before
    # The journal knows it now, whatever the options.
    result = protect(folder, "-o", mine.parent, "--keep-metadata")
    assert result.exit_code == 0, result.output


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
    result = folder / "a-protected.png"
    first = result.stat().st_mtime_ns
    assert protect(folder).exit_code == 0
    assert names(folder) == ["a-protected.png", "a.jpg"]
    assert result.stat().st_mtime_ns == first


def test_second_run_does_what_is_new_or_changed(folder: Path, protect: Run) -> None:
    for name in ("a.jpg", "b.jpg", "gone.jpg"):
        portrait_at(folder / name)
    landscape_at(folder / "empty.png")
    out = folder.parent / "out"
    assert protect(folder, "-o", out).exit_code == 4
    portrait_at(folder / "b.jpg", quality=40)
    portrait_at(folder / "new.jpg")
    (out / "gone.png").unlink()
    result = protect(folder, "-o", out)
    assert result.exit_code == 4
    done = [line.split(":")[0] for line in result.output.splitlines()]
    expected = [str(folder / name) for name in ("empty.png", "b.jpg", "gone.jpg", "new.jpg")]
    assert done == [*expected, "5 photos"]
    assert result.output.endswith("5 photos: 1 unchanged, 1 no face, 3 protected\n")
    assert len(protect(folder, "-o", out, "--again").output.splitlines()) == 6
    assert len(protect(folder, "-o", out, "--format", "webp").output.splitlines()) == 6


def test_names_stay_when_photos_come(folder: Path, protect: Run) -> None:
    out = folder.parent / "out"
    portrait_at(folder / "a.jpg")
    portrait_at(folder / "a.png")
    assert protect(folder, "-o", out).exit_code == 0
    assert names(out) == ["a-2.png", "a.png"]
    portrait_at(folder / "a.bmp")
    result = protect(folder, "-o", out)
    assert result.output.count("->") == 1
    assert "a.bmp: 1 face" in result.output
    assert names(out) == ["a-2.png", "a-3.png", "a.png"]
    assert "3 unchanged" in protect(folder, "-o", out).output


def test_names_stay_with_photos_of_the_same_name(folder: Path, protect: Run) -> None:
    first, second, copy = (folder / name / "x.jpg" for name in "bca")
    out = folder.parent / "out"
    portrait_at(first)
    portrait_at(second, quality=30)
    both = (first.parent, second.parent)
    assert protect(*both, "-o", out).exit_code == 0
    results = [(out / name).read_bytes() for name in ("x.png", "x-2.png")]
    assert "2 unchanged" in protect(*both, "-o", out).output
    assert "2 unchanged" in protect(*reversed(both), "-o", out).output
    # A changed photo keeps its name, and a copy of it does not take that away.
    portrait_at(first, quality=50)
    copy.parent.mkdir()
    shutil.copy2(first, copy)
    assert f"{first} -> {out / 'x.png'}" in protect(*both, "-o", out, "--dry-run").output
    assert protect(copy.parent, *both, "-o", out).exit_code == 0
    assert "3 unchanged" in protect(copy.parent, *both, "-o", out).output
    assert names(out) == ["x-2.png", "x-3.png", "x.png"]
    assert (out / "x-2.png").read_bytes() == results[1]
    assert (out / "x.png").read_bytes() != results[0]


def test_names_stay_when_photos_move(folder: Path, protect: Run) -> None:
    out = folder.parent / "out"
    for name in ("a.jpg", "a.png"):
        portrait_at(folder / name)
    assert protect(folder, "-o", out).exit_code == 0
    moved = folder.rename(folder.parent / "moved")
    assert "2 unchanged" in protect(moved, "-o", out).output
    assert names(out) == ["a-2.png", "a.png"]


def test_names_stay_when_formats_change(folder: Path, protect: Run) -> None:
    out = folder.parent / "out"
    portrait_at(folder / "a.jpg")
    for form in ("png", "webp", "png"):
        assert protect(folder, "-o", out, "--format", form).exit_code == 0
    assert names(out) == ["a.png", "a.webp"]


def test_results_inside_the_folder_are_no_photos(folder: Path, protect: Run) -> None:
    portrait_at(folder / "a.jpg")
    portrait_at(folder / ".hidden" / "b.jpg")
    for _ in range(2):
        assert protect(folder, "-o", folder / "done").exit_code == 0
        assert names(folder) == [".hidden/b.jpg", "a.jpg", "done/a.png"]


def test_dry_run_writes_nothing(folder: Path, protect: Run) -> None:
    photo = portrait_at(folder / "a.jpg")
    out = folder.parent / "out"
    result = protect(folder, "-o", out, "--dry-run")
    assert result.exit_code == 0
    assert result.output.strip() == f"{photo} -> {out / 'a.png'}"
    assert not out.exists()


def test_dry_run_tells_what_would_fail(folder: Path, protect: Run) -> None:
    photo = portrait_at(folder / "a.jpg")
    out = folder.parent / "out"
    mine = portrait_at(out / "a.png")
    result = protect(folder, "-o", out, "--dry-run")
    assert result.exit_code == 1
    assert result.output == (
        f"unmorph: {photo}: {mine} is there already: name another --out, or replace it with "
        "--overwrite\n"
    )
    assert protect(folder, "-o", out, "--dry-run", "--overwrite").exit_code == 0
    assert protect(folder, "-o", out, "--overwrite").exit_code == 0
    result = protect(folder, "-o", out, "--dry-run", "--format", "png", "--again")
    assert result.output == f"{photo} -> {mine}\n"
    result = protect(photo, "-o", photo, "--format", "jpeg", "--dry-run")
    assert result.exit_code == 1
    assert "is an original" in result.output


def test_says_that_a_single_photo_is_done(folder: Path, protect: Run) -> None:
    photo = portrait_at(folder / "a.jpg")
    assert protect(folder).exit_code == 0
    result = protect(folder)
    assert result.output == f"{photo}: unchanged, 1 face -> {folder / 'a-protected.png'}\n"


@pytest.mark.parametrize(("asked", "cores"), [(None, 3), (None, 20), (5, 20)])
def test_cores(asked: int | None, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert cli_protect._cores(asked) == (asked or min(cores, 8))


def test_json(folder: Path, protect: Run) -> None:
    portrait_at(folder / "a.jpg")
    landscape_at(folder / "b.png")
    (folder / "c.jpg").write_text("hello")
    result = protect(folder, "--json")
    assert result.exit_code == 1
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert (first["status"], second["status"], third["status"]) == (
        "protected",
        "no face",
        "failed",
    )
    assert first["target"] == str(folder / "a-protected.png")
    assert first["faces"] == 1
    assert second["bytes_before"] == (folder / "b.png").stat().st_size
    assert first["bytes_after"] == (folder / "a-protected.png").stat().st_size
    assert "c.jpg: not an image" in third["error"]
    again = [json.loads(line)["status"] for line in protect(folder, "--json").stdout.splitlines()]
    assert sorted(again) == ["failed", "no face", "unchanged"]


def test_several_workers_do_the_same(folder: Path, protect: Run) -> None:
    for number in range(5):
        portrait_at(folder / f"{number}.png")
    (folder / "broken.png").write_text("hello")
    one, three = folder.parent / "one", folder.parent / "three"
    assert protect(folder, "-o", one).exit_code == 1
    assert protect(folder, "-o", three, "--workers", "3").exit_code == 1
    assert names(one) == names(three) == [f"{number}.png" for number in range(5)]
    for name in names(one):
        assert (one / name).read_bytes() == (three / name).read_bytes()


def test_progress_on_a_terminal(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(2) as (say, advance):
        for name in ("a.jpg: [done]", "b.jpg: [done]"):
            say(name)
            advance()
    assert "2/2" in terminal.getvalue()
    assert "a second" in terminal.getvalue()
    assert capsys.readouterr().out == "a.jpg: [done]\nb.jpg: [done]\n"
    monkeypatch.setattr(sys, "stdout", terminal)
    with progress(1) as (say, _):
        say("c.jpg: [done]")
    assert "c.jpg: [done]" in terminal.getvalue()


def test_no_progress_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2) as (say, advance):
        say("a.jpg")
        advance()
    assert capsys.readouterr() == ("a.jpg\n", "")


def through_pipe(defense_file: Path, data: bytes, *options: str) -> Result:
    command = ["protect", "-", "--weights", str(defense_file), "--workers", "1", *options]
    return CliRunner().invoke(app, command, input=data)


def test_stdin_to_stdout(folder: Path, defense_file: Path) -> None:
    photo = portrait_at(folder / "a.jpg")
    result = through_pipe(defense_file, photo.read_bytes())
    assert result.exit_code == 0, result.stderr
    expected = Protector.load(defense_file, threads=1).protect(read(photo).pixels)
    piped = decode(result.stdout_bytes, "stdout")
    np.testing.assert_array_equal(piped.pixels, expected)
    assert piped.format == "png"
    assert result.stderr.startswith("-: 1 face, ")
    same = through_pipe(defense_file, photo.read_bytes(), "--format", "same")
    assert decode(same.stdout_bytes, "stdout").format == "jpeg"
    webp = through_pipe(defense_file, photo.read_bytes(), "--format", "webp")
    assert decode(webp.stdout_bytes, "stdout").format == "webp"


def test_pipe_and_file(folder: Path, protect: Run, defense_file: Path) -> None:
    photo = portrait_at(folder / "a.png")
    result = through_pipe(defense_file, photo.read_bytes(), "-o", str(folder / "b.webp"))
    assert result.exit_code == 0, result.stderr
    piped = protect(photo, "-o", "-").stdout_bytes
    np.testing.assert_array_equal(decode(piped, "stdout").pixels, read(folder / "b.webp").pixels)
    assert names(folder) == ["a.png", "b.webp"]


def test_pipe_into_a_new_folder(folder: Path, defense_file: Path) -> None:
    data = portrait_at(folder / "a.png").read_bytes()
    result = through_pipe(defense_file, data, "-o", str(folder / "new" / "b.png"))
    assert result.exit_code == 0, result.output
    assert names(folder) == ["a.png", "new/b.png"]
    result = through_pipe(defense_file, data, "-o", str(folder / "a.png" / "b.png"))
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_pipe_from_the_file_that_it_would_replace(folder: Path, defense_file: Path) -> None:
    photo = portrait_at(folder / "a.png")
    before = photo.read_bytes()
    command = [sys.executable, "-m", "unmorph", "protect", "-", "--weights", str(defense_file)]
    with photo.open("rb") as file:
        result = subprocess.run(
            [*command, "-o", str(photo), "--overwrite"], stdin=file, capture_output=True, text=True
        )
    assert result.returncode == 1
    assert "a.png is an original" in result.stderr
    assert photo.read_bytes() == before


def test_pipe_without_a_photo(folder: Path, defense_file: Path) -> None:
    result = through_pipe(defense_file, b"hello")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "stdin: not an image" in result.stderr
    empty = landscape_at(folder / "empty.png").read_bytes()
    result = through_pipe(defense_file, empty)
    assert (result.exit_code, result.stdout) == (4, "")


def test_pipe_with_json(folder: Path, protect: Run, defense_file: Path) -> None:
    photo = portrait_at(folder / "a.png")
    result = through_pipe(defense_file, photo.read_bytes(), "-o", str(folder / "b.png"), "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["target"] == str(folder / "b.png")
    result = protect(photo, "-o", "-", "--json")
    assert json.loads(result.stderr)["status"] == "protected"
    assert decode(result.stdout_bytes, "stdout").format == "png"
    result = through_pipe(defense_file, b"hello", "-o", str(folder / "c.png"), "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert (record["source"], record["status"], record["target"]) == ("-", "failed", None)
    assert result.stderr == f"unmorph: {record['error']}\n"
    result = through_pipe(defense_file, photo.read_bytes(), "-o", str(folder / "b.png"), "--json")
    assert "is there already" in json.loads(result.stdout)["error"]


def test_same_names_stay_apart(folder: Path, protect: Run) -> None:
    photos = [portrait_at(folder / name) for name in ("a.jpg", "a.webp", "sub/a.jpg")]
    out = folder.parent / "out"
    result = protect(*photos, photos[0], "-o", out)
    assert result.exit_code == 0, result.output
    assert names(out) == ["a-2.png", "a-3.png", "a.png"]
    result = protect(*photos, "--format", "same", "-o", out)
    assert names(out) == ["a-2.jpg", "a-2.png", "a-3.png", "a.jpg", "a.png", "a.webp"]


def test_never_overwrites_an_original(folder: Path, protect: Run) -> None:
    photo, other = portrait_at(folder / "a.png"), portrait_at(folder / "b.jpg")
    original = photo.read_bytes()
    assert protect(photo, "-o", photo).exit_code == 1
    result = protect(photo, other, "-o", folder)
    assert result.exit_code == 1
    assert "is an original" in result.output
    assert photo.read_bytes() == original
    assert names(folder) == ["a.png", "b.jpg", "b.png"]
    os.link(photo, folder / "A.PNG")  # as on a disk that takes the two names for one
    result = protect(photo, "-o", folder / "A.PNG", "--overwrite")
    assert result.exit_code == 1
    assert "is an original" in result.output
    assert photo.samefile(folder / "A.PNG")


def test_never_overwrites_an_original_that_is_done(folder: Path, protect: Run) -> None:
    original = portrait_at(folder / "other" / "b.png")
    before = original.read_bytes()
    portrait_at(folder / "album" / "b.jpg")
    (folder / "album" / "a.png").symlink_to(original)
    for _ in range(2):
        result = protect(folder / "album", "-o", original.parent, "--overwrite")
        assert result.exit_code == 1
        assert "b.png is an original" in result.output
    assert "1 unchanged" in result.output
    assert original.read_bytes() == before


@pytest.mark.parametrize(
    ("photos", "out"), [(["a"], "a"), (["a", "b"], "b"), (["a/a"], "a"), (["a", "a/a"], "a/a")]
)
def test_results_do_not_lie_among_photos(
    folder: Path, protect: Run, photos: list[str], out: str
) -> None:
    for name in ("a/x.jpg", "a/x.png", "a/a/a/x.jpg", "b/x.jpg"):
        portrait_at(folder / name)
    before = names(folder)
    result = protect(*(folder / name for name in photos), "-o", folder / out, "--overwrite")
    assert result.exit_code == 2
    assert "among the photos" in result.output
    assert "leave --out away" in result.output
    assert names(folder) == before


def test_failures_do_not_stop_the_others(folder: Path, protect: Run) -> None:
    broken, text = folder / "broken.jpg", folder / "text.jpg"
    good = portrait_at(folder / "good.jpg")
    broken.write_bytes(good.read_bytes()[:2000])
    text.write_text("hello")
    empty = landscape_at(folder / "empty.png")
    result = protect(broken, text, empty, folder / "absent.jpg", good)
    assert result.exit_code == 1
    lines = result.output.strip().splitlines()
    order = ("empty.png", "good.jpg", "5 photos", "broken.jpg", "text.jpg", "absent.jpg")
    for name, line in zip(order, lines, strict=True):
        assert name in line
    assert lines[2] == "5 photos: 3 failed, 1 no face, 1 protected"
    assert (folder / "good-protected.png").is_file()


def test_a_second_run_on_what_was_named(folder: Path, protect: Run) -> None:
    photos = [portrait_at(folder / name) for name in ("a.jpg", "b.jpg")]
    out = folder.parent / "out"
    for said in ("2 protected", "2 unchanged"):
        result = protect(*photos, "-o", out)
        assert result.exit_code == 0, result.output
        assert said in result.output


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(("first", "second"), [("album/day", "album"), ("album", "album/day")])
def test_a_second_run_on_another_level(
    folder: Path, protect: Run, first: str, second: str, outside: bool
) -> None:
    portrait_at(folder / "album" / "day" / "a.jpg")
    results = []
    for path in (first, second):
        where = ["-o", folder / "out" / path] if outside else []
        result = protect(folder / path, *where)
        assert result.exit_code == 0, result.output
        results.append(names(folder))
    assert "1 face" in result.output
    assert "unchanged" in result.output
    assert results[0] == results[1]


def test_a_second_run_from_another_folder(
    folder: Path, protect: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    portrait_at(folder / "album" / "day" / "a.jpg")
    monkeypatch.chdir(folder)
    assert protect("album").exit_code == 0
    before = names(folder)
    monkeypatch.chdir(folder / "album" / "day")
    for path in (".", "../day", "..", "../../album"):
        result = protect(path)
        assert "unchanged" in result.output
        assert result.exit_code == 0
    assert names(folder) == before


def test_a_journal_is_of_its_own_folder(
    folder: Path, protect: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        portrait_at(folder / name / "a.jpg")
    monkeypatch.chdir(folder / "here")
    for path in (".", "../there"):
        assert protect(path).exit_code == 0
    for path in ("../here", "../there"):
        assert JOURNAL in [file.name for file in Path(path).iterdir()]
    monkeypatch.chdir(folder)
    result = protect("there")
    assert "unchanged" in result.output
    assert result.exit_code == 0


def test_a_dry_run_tells_what_is_not_there(folder: Path, protect: Run) -> None:
    result = protect(folder / "absent.jpg", portrait_at(folder / "a.jpg"), "--dry-run")
    assert result.exit_code == 1
    assert "absent.jpg: no such file" in result.output
    assert "a.jpg ->" in result.output


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
    "arguments",
    [
        [],
        ["a.jpg", "b.jpg", "-o", "one.png"],
        ["a.jpg", "--keep-location"],
        ["a.jpg", "--format", "xyz"],
        ["a.jpg", "-o", "out.gif"],
        ["a.jpg", "-o", "out.jgp"],
        ["a.jpg", "-o", "out.png", "--format", "same"],
        ["a.jpg", "--format", "png", "-o", "b.jpg"],
        ["-", "--format", "png", "-o", "b.jpg"],
        ["a.jpg", "--format", "same", "--quality", "101"],
        ["a.jpg", "--quality", "90"],
        ["a.jpg", "--faces", "none"],
        ["a.jpg", "--faces", "0"],
        ["a.jpg", "--box", "1,2,3"],
        ["a.jpg", "--box", "1,2,0,3"],
        ["a.jpg", "b.jpg", "--box", "1,2,3,4"],
        ["-", "a.jpg"],
        ["-", "-o", "folder"],
        ["-", "--dry-run"],
    ],
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

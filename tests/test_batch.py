from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from unmorph import batch
from unmorph.album import plan, search
from unmorph.batch import Settings, run
from unmorph.errors import PhotoError, WeightsError
from unmorph.files import PARTIAL
from unmorph.journal import BEGUN, FAILED, JOURNAL, NO_FACE, PROTECTED, UNCHANGED, Job, Journal
from unmorph.photo import encode, read
from unmorph.protector import Protector
from unmorph.samples import PORTRAIT


def journal(folder: Path, settings: str = "same") -> Journal:
    return Journal(folder, settings)


def test_kill_at_any_moment(album: Path, tmp_path: Path, defense_file: Path) -> None:
    out = tmp_path / "out"
    code = "from unmorph.cli import main; main()"
    command = [sys.executable, "-c", code, "protect", str(album), "-o", str(out)]
    command += ["--weights", str(defense_file), "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(out.rglob("*.png"))) >= 4:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait(120)
    assert process.returncode == -signal.SIGKILL, "ended before it could be killed"
    finished = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    assert 4 <= len(finished) < 12
    for path in finished:
        assert read(path).pixels.shape == (200, 200, 3)  # no half files
    lines = (out / JOURNAL).read_text().splitlines()
    journal = [line for line in lines if '"begun"' not in line]
    assert len(journal) >= len(finished) - 2  # at most those at work were not noted

    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
    assert statuses.count("unchanged") == len(journal)
    assert len(list(out.rglob("*.png"))) == 12
    assert statuses.count("protected") == 12 - len(journal)
    for entry in map(json.loads, journal):
        path = out / entry["target"]
        assert path.stat().st_mtime_ns == finished[path]


def test_tidies_up_after_a_kill(album: Path, tmp_path: Path, protector: Protector) -> None:
    jobs = plan(search([album], tmp_path / "out"))[:1]
    folder = jobs[0].target.parent
    folder.mkdir(parents=True)
    old, new = folder / f".a.png.1{PARTIAL}", folder / f".b.png.2{PARTIAL}"
    other = folder / ".download.partial"
    for path in (old, new, other):
        path.write_text("half")
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    journals = {tmp_path / "out": journal(tmp_path)}
    assert [o.status for o in run(protector, jobs, Settings(), journals)] == [PROTECTED]
    assert not old.exists()
    assert new.exists()  # perhaps of a run that is at work
    assert other.exists()


def test_journal_names_no_folders(album: Path, tmp_path: Path, protector: Protector) -> None:
    out = tmp_path / "out"
    assert list(run(protector, plan(search([album], out))[:1], Settings(), {out: journal(out)}))
    assert str(tmp_path) not in (out / JOURNAL).read_text()


def test_named_photos_have_no_journal(album: Path, tmp_path: Path, defense_file: Path) -> None:
    jobs = plan(search([album / "trip-0" / "0.png"], tmp_path / "out"))
    assert [job.root for job in jobs] == [None]
    assert batch.journals_for(jobs, Settings(), defense_file) == {}


def test_journal_depends_on_settings_and_weights(
    album: Path, tmp_path: Path, defense_file: Path, classifier_file: Path, protector: Protector
) -> None:
    jobs = plan(search([album], tmp_path / "out"))[:1]

    def known(settings: Settings, weights: Path = defense_file) -> bool:
        journals = batch.journals_for(jobs, settings, weights)
        return next(batch.unchanged(jobs, journals)) is not None

    assert not known(Settings())
    journals = batch.journals_for(jobs, Settings(), defense_file)
    assert [o.status for o in run(protector, jobs, Settings(), journals)] == [PROTECTED]
    assert known(Settings())
    assert known(Settings(max_megapixels=1))
    assert known(Settings(strength="strong"))
    assert not known(Settings(quality=90))
    assert not known(Settings(), classifier_file)
    with pytest.raises(WeightsError, match="no such network"):
        known(Settings(), tmp_path / "absent.onnx")
    os.utime(jobs[0].source, (1, 1))
    assert not known(Settings())


def test_steps_depend_on_what_they_are_after(
    album: Path, tmp_path: Path, defense_file: Path, protector: Protector
) -> None:
    jobs = plan(search([album], tmp_path / "out"))[:1]
    settings = Settings(refine=1)
    journals = batch.journals_for(jobs, settings, defense_file)
    assert [o.status for o in run(protector, jobs, settings, journals)] == [PROTECTED]
    for strength, known in (("subtle", True), ("strong", False)):
        settings = Settings(refine=1, strength=strength)
        journals = batch.journals_for(jobs, settings, defense_file)
        assert (next(batch.unchanged(jobs, journals)) is not None) is known


def test_what_was_not_made_here_is_not_replaced(
    album: Path, tmp_path: Path, protector: Protector
) -> None:
    out = tmp_path / "out"
    job = plan(search([album], out))[0]
    Image.new("RGB", (200, 200)).save(job.source)
    assert [o.status for o in run(protector, [job], Settings(), {out: journal(out)})] == ["no face"]
    job.target.parent.mkdir(parents=True)
    job.target.write_text("somebody's own")
    with Image.open(PORTRAIT) as image:
        image.resize((200, 200)).save(job.source)
    (outcome,) = run(protector, [job], Settings(), {out: journal(out)})
    assert outcome.status == FAILED
    assert "is there already" in str(outcome.error)
    assert job.target.read_text() == "somebody's own"
    job.target.unlink()
    for _ in range(2):  # made here, it may be replaced
        (outcome,) = run(protector, [job], Settings(), {out: journal(out)})
        assert outcome.status == PROTECTED


@pytest.mark.parametrize("links", [True, False])
def test_what_appears_meanwhile_is_not_replaced(
    album: Path, protector: Protector, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    (job,) = plan(search([album / "trip-0" / "0.png"], None))

    def meanwhile(*arguments: Any, **options: Any) -> bytes:
        job.target.write_text("another run's")
        return encode(*arguments, **options)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:  # as FAT has none
        monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(batch, "encode", meanwhile)
    (outcome,) = run(protector, [job], Settings(), {})
    assert "is there already: name another --out" in str(outcome.error)
    assert job.target.read_text() == "another run's"
    assert not list(job.target.parent.glob(f".*{PARTIAL}"))
    job.target.unlink()
    monkeypatch.setattr(batch, "encode", encode)
    assert [o.status for o in run(protector, [job], Settings(), {})] == [PROTECTED]
    assert read(job.target).pixels.shape == (200, 200, 3)


@pytest.mark.parametrize("lone", [False, True])
def test_a_file_in_the_place_of_a_result_that_is_gone(
    album: Path, tmp_path: Path, protector: Protector, lone: bool
) -> None:
    out = tmp_path / "out"
    job = plan(search([album], out))[0]
    photo = job.source.read_bytes()
    if lone:  # a run was killed before it wrote anything
        journal(out).begin(job, 1234)
    else:
        assert [o.status for o in run(protector, [job], Settings(), {out: journal(out)})] == [
            PROTECTED
        ]
        Image.new("RGB", (200, 200)).save(job.source)
        assert [o.status for o in run(protector, [job], Settings(), {out: journal(out)})] == [
            NO_FACE
        ]
        job.source.write_bytes(photo)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    job.target.write_text("somebody's own")
    (outcome,) = run(protector, [job], Settings(), {out: journal(out)})
    assert "is there already" in str(outcome.error)
    assert job.target.read_text() == "somebody's own"


def test_a_result_that_a_killed_run_did_not_note(
    album: Path, tmp_path: Path, protector: Protector
) -> None:
    out = tmp_path / "out"
    job = plan(search([album], out))[0]
    assert [o.status for o in run(protector, [job], Settings(), {out: journal(out)})] == [PROTECTED]
    lines = (out / JOURNAL).read_text().splitlines(keepends=True)
    assert [json.loads(line)["status"] for line in lines] == [BEGUN, PROTECTED]
    (out / JOURNAL).write_text(lines[0])
    assert [o.status for o in run(protector, [job], Settings(), {out: journal(out)})] == [PROTECTED]


def test_what_another_run_has_done_meanwhile(
    album: Path, tmp_path: Path, protector: Protector, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    jobs = plan(search([album], out))[:2]
    ours, theirs = {out: journal(out)}, {out: journal(out)}
    assert [o.status for o in run(protector, jobs[:1], Settings(), theirs)] == [PROTECTED]

    def meanwhile(*arguments: Any, **options: Any) -> bytes:
        monkeypatch.setattr(batch, "encode", encode)
        assert [o.status for o in run(protector, jobs[1:], Settings(), theirs)] == [PROTECTED]
        return encode(*arguments, **options)

    monkeypatch.setattr(batch, "encode", meanwhile)
    first, second = run(protector, jobs, Settings(), ours)
    assert [first.status, second.status] == [UNCHANGED, PROTECTED]
    assert [first.target, second.target] == [str(job.target) for job in jobs]


def test_what_nobody_foresaw_stops_no_other(
    album: Path, protector: Protector, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = album / "loop.png"
    loop.symlink_to(loop)
    jobs = plan(search([loop, *sorted(album.glob("trip-0/*.png"))[:2]], None))
    jobs.append(Job(jobs[1].source, loop))
    statuses = [o.status for o in run(protector, jobs, Settings(), {}, overwrite=True)]
    assert statuses[:3] == [FAILED, PROTECTED, PROTECTED]

    monkeypatch.setattr(protector, "protect_photo", Mock(side_effect=ArithmeticError("by zero")))
    (outcome,) = run(protector, jobs[1:2], Settings(), {}, overwrite=True)
    assert f"{jobs[1].source}: " in str(outcome.error)
    assert "ArithmeticError: by zero" in str(outcome.error)

    exhausted = WeightsError("detector.onnx: the network fails: bad allocation")
    monkeypatch.setattr(protector, "protect_photo", Mock(side_effect=exhausted))
    (outcome,) = run(protector, jobs[1:2], Settings(), {}, overwrite=True)
    assert f"{jobs[1].source}: detector.onnx: the network fails" in str(outcome.error)
    assert "fewer --workers" in str(outcome.error)


def test_what_the_system_refuses_stops_no_other(
    album: Path, tmp_path: Path, protector: Protector
) -> None:
    source = next(album.rglob("*.png"))
    long = source.with_name("x" * 249 + ".png")  # its result's name would be too long
    source.rename(long)
    jobs = plan(search([long, next(album.rglob("1.png"))], None))
    first, second = run(protector, jobs, Settings(), {})
    assert first.status == FAILED
    assert "File name too long" in str(first.error)
    assert second.status == PROTECTED


def test_a_changed_result_is_told_and_left_alone(
    album: Path, tmp_path: Path, protector: Protector
) -> None:
    out = tmp_path / "out"
    jobs = plan(search([album], out))[:2]
    assert len(list(run(protector, jobs, Settings(), {out: journal(out)}))) == 2
    jobs[0].target.write_bytes(b"half, or somebody's work")
    assert [journal(out).knows(job) is not None for job in jobs] == [False, True]
    (outcome,) = run(protector, jobs[:1], Settings(), {out: journal(out)})
    assert "is there already" in str(outcome.error)
    assert jobs[0].target.read_bytes() == b"half, or somebody's work"
    (outcome,) = run(protector, jobs[:1], Settings(), {out: journal(out)}, overwrite=True)
    assert outcome.status == PROTECTED
    assert journal(out).knows(jobs[0])


def test_earlier_results_are_no_photos(album: Path, tmp_path: Path, protector: Protector) -> None:
    inside = album / "results"
    assert list(
        run(protector, plan(search([album], inside))[:2], Settings(), {inside: journal(inside)})
    )
    assert {job.source for job in plan(search([album], inside))} == set(album.glob("trip-*/*.png"))
    sources = {job.source for job in plan(search([album], tmp_path / "elsewhere"))}
    assert sources == set(album.glob("trip-*/*.png"))


def test_a_folder_out_of_reach_fails(
    album: Path, protector: Protector, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = str(album / "trip-1")
    scan = os.scandir

    def refuse(path: str | os.PathLike[str]) -> object:
        if os.fspath(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    jobs = plan(search([album], None))
    assert len(jobs) == 9
    outcomes = {o.source: o for o in run(protector, jobs, Settings(), {album: journal(album)})}
    assert outcomes.pop(closed).status == FAILED
    assert {o.status for o in outcomes.values()} == {PROTECTED}
    with pytest.raises(PhotoError, match="trip-1: cannot be read: Permission denied"):
        plan(search([album / "trip-1"], None))
    jobs = plan(search([album / "trip-1", album / "trip-0"], None))
    assert {job.source.parent for job in jobs} == {album, album / "trip-0"}


def test_an_absent_photo_is_told_before_its_folder(
    protector: Protector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan(search([tmp_path / "stick" / "a.jpg"], None))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    batch.refuse_unwritable(jobs)
    (outcome,) = run(protector, jobs, Settings(), {})
    assert "a.jpg: no such file" in str(outcome.error)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_a_folder_of_results_out_of_reach(
    album: Path, protector: Protector, monkeypatch: pytest.MonkeyPatch, all_of_it: bool
) -> None:
    jobs = plan(search([album], None))
    closed = {job.target.parent for job in jobs[:: 1 if all_of_it else len(jobs)]}
    access = os.access

    def refuse(path: Path, mode: int) -> bool:
        return path not in closed and access(path, mode)

    monkeypatch.setattr(os, "access", refuse)
    outcomes = list(run(protector, jobs, Settings(), {album: journal(album)}))
    failed = [o for o in outcomes if o.status == FAILED]
    assert {Path(o.source).parent for o in failed} == closed
    assert all("cannot be written to; name another folder" in str(o.error) for o in failed)
    if all_of_it:
        with pytest.raises(PhotoError, match="name another folder"):
            batch.refuse_unwritable(jobs)
    else:
        batch.refuse_unwritable(jobs)


SMALL_NOTE = "below 64 pixels with hair and chin, little protection"


@pytest.mark.parametrize(
    ("faces", "notes"),
    [
        ([(200, "RGB")], ()),
        ([(80, "RGB")], (f"a face {SMALL_NOTE}",)),
        ([(200, "L")], ("a face without colour, little protection",)),
        ([(200, "L"), (200, "RGB")], ("a face without colour, little protection",)),
        ([(200, "L"), (190, "L")], ("2 faces without colour, little protection",)),
        (
            [(200, "L"), (80, "RGB")],
            ("a face without colour, little protection", f"a face {SMALL_NOTE}"),
        ),
    ],
)
def test_says_where_little_is_to_be_expected(
    tmp_path: Path,
    protector: Protector,
    faces: list[tuple[int, str]],
    notes: tuple[str, ...],
) -> None:
    photo = Image.new("RGB", (320 * len(faces), 240), "grey")
    for place, (side, mode) in enumerate(faces):
        with Image.open(PORTRAIT) as image:
            face = image.resize((side, side)).convert(mode).convert("RGB")
        photo.paste(face, (320 * place + 60, 20))
    noise = np.random.default_rng(0).integers(-1, 2, (*photo.size[::-1], 3))
    levels = (np.asarray(photo) + noise).clip(0, 255).astype(np.uint8)  # as a scanner leaves
    Image.fromarray(levels).save(tmp_path / "photo.png")
    (outcome,) = run(protector, plan(search([tmp_path / "photo.png"], None)), Settings(), {})
    assert outcome.faces == len(faces)
    assert outcome.notes == notes


def test_ctrl_c_ends_it_at_once(album: Path, tmp_path: Path, defense_file: Path) -> None:
    code = """
import os, signal, time
from unmorph.cli import main
from unmorph.protector import Protector

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it

def work(*arguments, **options):
    os.write(1, b"at work\\n")  # at once: there are two of them
    time.sleep(300)

Protector.protect_photo = work
main()
"""
    command = [sys.executable, "-c", code, "protect", str(album), "-o", str(tmp_path / "out")]
    command += ["--weights", str(defense_file), "--workers", "2"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "stopped: 0 of 12 photos; the same command goes on\n"

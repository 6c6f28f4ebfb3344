from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from unmorph import batch
from unmorph.album import plan, search
from unmorph.batch import Settings, run
from unmorph.errors import PhotoError, WeightsError
from unmorph.files import PARTIAL
from unmorph.journal import FAILED, JOURNAL, PROTECTED, Journal
from unmorph.photo import read
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
    assert not known(Settings(quality=90))
    assert not known(Settings(), classifier_file)
    with pytest.raises(WeightsError, match="no such network"):
        known(Settings(), tmp_path / "absent.onnx")
    os.utime(jobs[0].source, (1, 1))
    assert not known(Settings())


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


@pytest.mark.parametrize(
    ("side", "mode", "note"),
    [
        (200, "RGB", ()),
        (40, "RGB", ("a face below 64 pixels with hair and chin, little protection",)),
        (200, "L", ("no colour, little protection",)),
    ],
)
def test_says_where_little_is_to_be_expected(
    tmp_path: Path, protector: Protector, side: int, mode: str, note: tuple[str, ...]
) -> None:
    photo = Image.new("RGB", (320, 240), "grey")
    with Image.open(PORTRAIT) as image:
        photo.paste(image.resize((side, side)), (60, 20))
    photo.convert(mode).save(tmp_path / "photo.png")
    (outcome,) = run(protector, plan(search([tmp_path / "photo.png"], None)), Settings(), {})
    assert outcome.status == PROTECTED
    assert outcome.notes == note


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

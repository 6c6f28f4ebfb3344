from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unmorph.album import plan, search
from unmorph.errors import PhotoError
from unmorph.journal import BEGUN, JOURNAL, NO_FACE, PROTECTED, Job, Journal, Outcome


def journal(folder: Path, settings: str = "same") -> Journal:
    return Journal(folder, settings)


def test_journal_with_a_torn_line(album: Path, tmp_path: Path) -> None:
    jobs = plan(search([album], tmp_path))[:3]
    first = journal(tmp_path)
    for job in jobs[:2]:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        job.target.touch()
        first.add(job, first.state(job), Outcome(str(job.source), PROTECTED, faces=1))
    path = tmp_path / JOURNAL
    path.write_text(path.read_text()[:-20])
    second = journal(tmp_path)
    assert [second.knows(job) is not None for job in jobs] == [True, False, False]
    second.add(jobs[1], second.state(jobs[1]), Outcome("", PROTECTED, faces=1))
    third = journal(tmp_path)
    assert [third.knows(job) is not None for job in jobs] == [True, True, False]
    assert journal(tmp_path, "others").knows(jobs[0]) is None


def test_journal_of_an_earlier_version(tmp_path: Path) -> None:
    photos = [tmp_path / folder / "x.jpg" for folder in "ab"]
    out = tmp_path / "out"
    out.mkdir()
    lines: list[dict[str, object]] = []
    for number, (photo, result) in enumerate(zip(photos, ("x-2.png", "x.png"), strict=True)):
        photo.parent.mkdir()
        photo.write_bytes(bytes(number))
        (out / result).touch()
        stat = photo.stat()
        named = {"target": result, "source": "x.jpg", "settings": "same"}
        lines.append({**named, "status": BEGUN})
        state = {**named, "bytes": stat.st_size, "modified": stat.st_mtime_ns}
        lines.append({**state, "status": PROTECTED, "faces": 1})
    (out / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    jobs = plan(search([tmp_path / "a", tmp_path / "b"], out), "png")
    assert [job.target.name for job in jobs] == ["x-2.png", "x.png"]
    assert all(journal(out).knows(job) for job in jobs)


def test_journal_that_cannot_be_written(album: Path, tmp_path: Path) -> None:
    job = plan(search([album], tmp_path))[0]
    blocked = journal(tmp_path / "file")
    (tmp_path / "file").touch()
    with pytest.raises(PhotoError, match="cannot be written"):
        blocked.add(Job(job.source, tmp_path / "a.png"), {}, Outcome("", PROTECTED))


def test_a_line_that_a_full_disk_cut(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = plan(search([album], tmp_path))[:2]
    noted = journal(tmp_path)
    opened = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        with opened(path, *arguments, **options) as file:
            file.write('{"target": "half')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(PhotoError, match="No space left"):
        noted.add(first, noted.state(first), Outcome("", NO_FACE))
    monkeypatch.setattr(Path, "open", opened)
    noted.add(second, noted.state(second), Outcome("", NO_FACE))
    again = journal(tmp_path)
    assert [again.knows(job) is not None for job in (first, second)] == [False, True]

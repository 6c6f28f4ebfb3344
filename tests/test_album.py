from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from unmorph.album import plan, search
from unmorph.errors import ConfigError, PhotoError


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_tree_is_kept(album: Path, tmp_path: Path) -> None:
    jobs = plan(search([album], tmp_path / "out"))
    assert {job.root for job in jobs} == {tmp_path / "out"}
    assert [job.key for job in jobs] == files(album)
    beside = plan(search([album], None), "jpeg")
    assert beside[0].target == album / "trip-0" / "0-protected.jpg"
    assert beside[0].root == album


@pytest.mark.parametrize(
    ("out", "form"), [("one.png", None), ("one.png", "jpeg"), ("one.jpg", "png")]
)
def test_one_file_for_what_it_is_not(album: Path, out: str, form: str | None) -> None:
    photos = [album] if form is None else [album / "trip-0" / "0.png"]
    with pytest.raises(ConfigError, match=out):
        plan(search(photos, Path(out)), form)


def test_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no photos in"):
        plan(search([tmp_path], None))


def test_counts_what_it_passes_over(album: Path, tmp_path: Path) -> None:
    for name in ("a.CR2", "b.cr2", "notes", ".hidden.mov", "x-protected.mov"):
        (album / name).touch()
    (tmp_path / "other").mkdir()
    (album / "link").symlink_to(tmp_path / "other")
    passed_over = {".cr2": 2, "no suffix": 1, ".mov": 1, "folders that are links": 1}
    assert search([album], None).passed_over == passed_over
    (album / "gone.jpg").symlink_to(tmp_path / "absent.jpg")
    assert album / "gone.jpg" in [job.source for job in plan(search([album], None))]


def test_results_beside_their_photos(tmp_path: Path) -> None:
    for name in ("a.jpg", "a-protected.png", "a-2-protected.png", "b.txt", "b-protected.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "c-protected-protected.png").touch()
    (tmp_path / "c-protected.jpg").touch()
    found = search([tmp_path], None)
    assert [photo.name for photo in found.photos] == ["a.jpg", "b-protected.jpg", "c-protected.jpg"]
    assert found.passed_over == {".txt": 1, "results beside their photos": 3}


def test_a_photo_that_is_named_twice(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    photo = Path("trip-0/0.png")
    (job,) = plan(search([photo, album / photo, album / "trip-1" / ".." / photo], None))
    assert job.target.name == "0-protected.png"
    assert len(plan(search([photo, album], None))) == 12
    (album / "link.png").symlink_to(album / photo)  # is a photo of its own
    assert len(plan(search([photo, Path("link.png")], None))) == 2


def test_results_are_no_photos_whatever_their_folder_is_called(album: Path, tmp_path: Path) -> None:
    before = set(search([album], album / "out").photos)
    results = album / "out"
    results.mkdir()
    shutil.copy(album / "trip-0" / "0.png", results / "protected.png")
    also = tmp_path / "also"
    also.symlink_to(results)
    for out in (results, also):
        assert set(search([album], out).photos) == before
    assert len(search([album], tmp_path / "elsewhere").photos) == len(before) + 1


def test_a_path_out_of_reach_stops_no_other(album: Path) -> None:
    photos = album / ("x" * 300) / "a.jpg", album / "trip-0" / "0.png"
    assert [job.source for job in plan(search(photos, None))] == list(photos)


def test_a_photo_in_a_folder_out_of_reach_is_told(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = album / "trip-1"
    stat = os.stat

    def refuse(path: str | os.PathLike[str], *args: Any, **options: Any) -> os.stat_result:
        if isinstance(path, (str, os.PathLike)) and closed in Path(path).parents:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert len(plan(search([album], None))) == 12


def test_a_link_to_itself(album: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "out")
    assert len(plan(search([album], tmp_path / "out"))) == 12


def test_what_is_no_file_is_no_photo(album: Path) -> None:
    os.mkfifo(album / "pipe.jpg")  # reading it would wait for ever
    assert len(plan(search([album], None))) == 12

"""What became of photos: jobs, outcomes, and the journal that each folder of results keeps."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmorph.errors import PhotoError

#: The journal's file, in the folder of the results.
JOURNAL = ".unmorph-journal.jsonl"

#: What the journal says of a result before it is there.
BEGUN = "begun"

#: What became of a photo. ``unchanged``: it was done before and needs nothing; ``planned``: a dry
#: run would protect it.
PROTECTED, NO_FACE, FAILED, UNCHANGED, PLANNED = (
    "protected",
    "no face",
    "failed",
    "unchanged",
    "planned",
)


@dataclass(frozen=True)
class Job:
    """A photo and the file that it becomes."""

    source: Path
    target: Path
    #: The folder whose journal knows about it, as `absolute` has it; None for a photo that was
    #: named.
    root: Path | None = None

    @property
    def key(self) -> str:
        """What the journal calls it."""
        target = absolute(self.target)
        return target.relative_to(self.root or target.parent).as_posix()


@dataclass(frozen=True)
class Outcome:
    """What became of a photo."""

    source: str
    status: str
    #: The file that was written, or would be.
    target: str | None = None
    faces: int = 0
    #: Likeness to the photo in decibels, over the faces' squares; None where nothing changed.
    psnr: float | None = None
    seconds: float = 0.0
    #: The sizes of the two files.
    bytes_before: int = 0
    bytes_after: int = 0
    #: What of the photo its result lacks.
    losses: tuple[str, ...] = ()
    #: Why less of the protection is to be expected than usual.
    notes: tuple[str, ...] = ()
    error: str | None = None


#: What an earlier result is known by: its folder, its suffix, and what tells its photo.
Known = tuple[Path, str, str]


class Journal:
    """Which photos of a folder are done, one line of JSON each.

    A result is begun with one line, which owns the file, and done with another once it is in
    place, so that whatever ends a run, the next one at worst repeats the photos that were at work.

    Args:
        folder: the folder of the results.
        settings: what else, beside the photo, the results depend on.

    Raises:
        PhotoError: it cannot be read.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self.path = folder / JOURNAL
        self._settings = settings
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        #: The sizes that a result may have: as it was made last, or begun since.
        self._sizes: dict[str, set[int | None]] = {}
        self._torn = False
        self.reread()

    def reread(self) -> None:
        """Take in what other runs have noted since.

        Raises:
            PhotoError: it cannot be read.
        """
        if not self.path.is_file():
            return
        entries: dict[str, dict[str, Any]] = {}
        sizes: dict[str, set[int | None]] = {}
        with self._lock:
            try:
                text = self.path.read_text("utf-8", errors="replace")
            except OSError as error:
                raise PhotoError(
                    f"{self.path}: the journal of earlier results cannot be read: {error.strerror}"
                ) from error
            self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                entries[entry["target"]] = entry
                if entry.get("status") == PROTECTED:
                    sizes[entry["target"]] = {entry.get("written")}
                elif entry.get("status") == BEGUN:
                    sizes.setdefault(entry["target"], set()).add(entry.get("written"))
            except (ValueError, TypeError, KeyError):
                continue  # the line at which a run was killed
        self._entries, self._sizes = entries, sizes

    def knows(self, job: Job) -> Outcome | None:
        """Return what became of a photo, if that still holds."""
        entry = self._entries.get(job.key)
        if entry is None or not entry.items() >= self._state(job).items():
            return None
        if _is_altered(job.target, entry):
            return None
        if entry.get("status") == NO_FACE:
            return Outcome(str(job.source), NO_FACE)
        return Outcome(str(job.source), UNCHANGED, str(job.target), int(entry.get("faces", 0)))

    def results(self, places: Container[str]) -> Iterator[tuple[Known, Path]]:
        """Yield what each result is known by, and where it is.

        A photo at one of these ``places`` is told by that; another by its file, as it may have
        moved, or the journal is an earlier version's.
        """
        for key, entry in self._entries.items():
            target = self.path.parent / key
            place = str(entry.get("place"))
            photo = place if place in places else file_of(entry)
            yield (target.parent, target.suffix, photo), target

    def made(self) -> Iterator[Path]:
        """Yield the results that a run of this folder's made, or began."""
        return (self.path.parent / key for key in self._sizes)

    def owns(self, job: Job) -> bool:
        """Return whether the file in the place of a result is one that a run of this folder's made.

        Whatever has another size than a run has written or begun there is somebody's own.
        """
        sizes = self._sizes.get(job.key, ())
        return job.target.is_file() and job.target.stat().st_size in sizes

    def begin(self, job: Job, size: int) -> None:
        """Note that a result of so many bytes is about to be written."""
        self._append(job, {"status": BEGUN, "written": size})

    def add(self, job: Job, state: dict[str, Any], outcome: Outcome) -> None:
        """Note what became of a photo; ``state`` is that of `state` before it was read."""
        entry = {**state, "status": outcome.status, "faces": outcome.faces}
        self._append(job, {**entry, "written": outcome.bytes_after})

    def _append(self, job: Job, entry: dict[str, Any]) -> None:
        names = {"target": job.key, "source": job.source.name, "place": place_of(job.source)}
        line = json.dumps({**names, **entry}) + "\n"
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("\n" + line if self._torn else line)
            except OSError as error:
                self._torn = True  # perhaps half of it is there
                raise PhotoError(f"{self.path}: cannot be written: {error}") from error
            self._torn = False

    def state(self, job: Job) -> dict[str, Any]:
        """Return what tells whether a photo is still the same.

        Raises:
            PhotoError: there is no such photo.
        """
        try:
            return self._state(job)
        except OSError as error:
            raise PhotoError(f"{job.source}: cannot be read: {error}") from error

    def _state(self, job: Job) -> dict[str, Any]:
        return {"target": job.key, "settings": self._settings, **stat_of(job.source)}


def _is_altered(result: Path, entry: dict[str, Any]) -> bool:
    """Return whether a result that a journal's entry tells of is gone, or of another size."""
    if entry.get("status") != PROTECTED:
        return False
    return not result.is_file() or entry.get("written") not in (None, result.stat().st_size)


def absolute(path: Path) -> Path:
    """Return a path by which a file above, beside or below can be told, wherever a run began."""
    return Path(os.path.abspath(path))


def place_of(photo: Path) -> str:
    """Return what stands for a photo's path in a journal, which names nobody's folders."""
    path = os.path.join(os.path.realpath(photo.parent), photo.name)
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def stat_of(photo: Path) -> dict[str, Any]:
    """Return what tells whether a file is still the same, wherever it lies."""
    stat = photo.stat()
    return {"source": photo.name, "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def file_of(entry: dict[str, Any]) -> str:
    """Return what `stat_of` told of a file as one text."""
    return " ".join(str(entry.get(key)) for key in ("source", "bytes", "modified"))

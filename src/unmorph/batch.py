"""Many photo files: which become which, what is done already, and several at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmorph import __version__
from unmorph.errors import ConfigError, PhotoError, UnmorphError, WeightsError
from unmorph.faces.crop import Square
from unmorph.files import PARTIAL, write_whole
from unmorph.photo import (
    MAX_MEGAPIXELS,
    READABLE,
    WRITABLE,
    Photo,
    encode,
    losses_as,
    read,
    suffix_for,
)
from unmorph.protector import Protector

#: What the result of ``portrait.jpg`` is called beside it: ``portrait-protected.png``.
MARK = "-protected"

#: The journal's file, in the folder of the results.
JOURNAL = ".unmorph-journal.jsonl"

#: A face whose square (`unmorph.faces.crop.frame`) has shorter sides than this, in pixels, holds
#: too little of the perturbation's detail (`results/formats.json`).
SMALL = 64

#: From this age on, in seconds, a half-written file is what a killed run left behind.
_ABANDONED = 60

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
class Settings:
    """How photos are protected and written."""

    #: A name in `unmorph.photo.FORMATS`; by default each photo's own, or PNG.
    format: str | None = None
    #: As `unmorph.photo.encode` takes it.
    quality: int | None = None
    keep_metadata: bool = False
    keep_location: bool = False
    #: Which faces, as `Protector.protect_photo` takes it.
    largest: int | None = None
    #: Faces by hand, as `Protector.protect_photo` takes them.
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    max_megapixels: float = MAX_MEGAPIXELS
    #: As `Protector.load` takes it.
    refine: int = 0


@dataclass(frozen=True)
class Job:
    """A photo and the file that it becomes."""

    source: Path
    target: Path
    #: The folder whose journal knows about it; None for photos that were named one by one.
    root: Path | None = None

    @property
    def key(self) -> str:
        """What the journal calls it."""
        return self.target.relative_to(self.root or self.target.parent).as_posix()


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
    #: What was left behind on reading the photo.
    losses: tuple[str, ...] = ()
    #: Why less of the protection is to be expected than usual.
    notes: tuple[str, ...] = ()
    error: str | None = None


#: What an earlier result is known by: its folder, its suffix, and what tells its photo.
Known = tuple[Path, str, str]


class Journal:
    """Which photos of a folder are done, one line of JSON each.

    A line is added only after its result is in place, so that whatever ends a run, the next one
    at worst repeats the photos that were at work.

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
        self._made: set[str] = set()
        self._torn = False
        if self.path.is_file():
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
                    self._entries[entry["target"]] = entry
                    if entry.get("status") in (BEGUN, PROTECTED):
                        self._made.add(entry["target"])
                except (ValueError, TypeError, KeyError):
                    continue  # the line at which a run was killed

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
            photo = place if place in places else _file(entry)
            yield (target.parent, target.suffix, photo), target

    def made(self) -> Iterator[Path]:
        """Yield the results that a run of this folder's made, or began."""
        return (self.path.parent / key for key in self._made)

    def owns(self, job: Job) -> bool:
        """Return whether a run of this folder's made, or began, the result that is there.

        A photo without a face was noted too, but nothing was written for it: a file there is
        somebody's own. So is a result that is no longer as it was made.
        """
        altered = _is_altered(job.target, self._entries.get(job.key, {}))
        return job.key in self._made and not altered

    def begin(self, job: Job) -> None:
        """Note that a result is about to be written."""
        self._append(job, {"status": BEGUN})

    def add(self, job: Job, state: dict[str, Any], outcome: Outcome) -> None:
        """Note what became of a photo; ``state`` is that of `state` before it was read."""
        entry = {**state, "status": outcome.status, "faces": outcome.faces}
        self._append(job, {**entry, "written": outcome.bytes_after})

    def _append(self, job: Job, entry: dict[str, Any]) -> None:
        names = {"target": job.key, "source": job.source.name, "place": _place(job.source)}
        line = json.dumps({**names, **entry}) + "\n"
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("\n" + line if self._torn else line)
            except OSError as error:
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
        return {"target": job.key, "settings": self._settings, **_stat(job.source)}


def _is_altered(result: Path, entry: dict[str, Any]) -> bool:
    """Return whether a result that a journal's entry tells of is gone, or of another size."""
    if entry.get("status") != PROTECTED:
        return False
    return not result.is_file() or entry.get("written") not in (None, result.stat().st_size)


def _place(photo: Path) -> str:
    """Return what stands for a photo's path in a journal, which names nobody's folders."""
    path = photo.parent.resolve() / photo.name
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _stat(photo: Path) -> dict[str, Any]:
    """Return what tells whether a file is still the same, wherever it lies."""
    stat = photo.stat()
    return {"source": photo.name, "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def _file(entry: dict[str, Any]) -> str:
    """Return what `_stat` told of a file as one text."""
    return " ".join(str(entry.get(key)) for key in ("source", "bytes", "modified"))


def names_file(out: Path) -> bool:
    """Return whether ``out`` is one file's name rather than a folder's."""
    return out.suffix.lower() in READABLE and not out.is_dir()


def plan(photos: Sequence[Path], out: Path | None, form: str | None = None) -> list[Job]:
    """Return each photo, those in folders included, and the file that it becomes.

    Without ``out`` a result lies beside its photo. A folder keeps its tree below ``out``. No two
    results are the same file.

    Args:
        photos: files and folders.
        out: a folder; for one photo also a file.
        form: a name in `unmorph.photo.FORMATS`; by default each photo's own, or PNG.

    Raises:
        PhotoError: there are no photos.
        ConfigError: ``out`` is one file for several photos, of another format, or of one that
            cannot be written; or results would lie among the photos of a folder, where the next
            run takes them for photos.
    """
    found = list({photo: (inner, root) for photo, inner, root in _photos(photos, out)}.items())
    if not found:
        raise PhotoError("no photos in " + ", ".join(map(str, photos)))
    if out is not None and names_file(out):
        if len(found) > 1 or photos[0].is_dir():
            raise ConfigError(f"{out} is one file, but there are more photos: name a folder")
        if out.suffix.lower() not in WRITABLE:
            raise ConfigError(f"{out}: cannot write this format; choose {', '.join(WRITABLE)}")
        if form is not None and WRITABLE.get(out.suffix.lower()) != form:
            raise ConfigError(f"{out} is not what a file in the format {form} is called")
        return [Job(found[0][0], out)]
    jobs: list[Job] = []
    roots = {root if out is None else out for _, (_, root) in found if root is not None}
    places = {source: _place(source) for source, (_, root) in found if root is not None}
    here = set(places.values())
    earlier = [result for root in roots for result in Journal(root, "").results(here)]
    results, reserved = dict(earlier), {target for _, target in earlier}
    taken: set[Path] = set()
    for source, (inner, root) in found:
        if root is not None and out is not None:
            root = out
        folder, mark = (source.parent, MARK) if out is None else ((out / inner).parent, "")
        suffix = suffix_for(source.suffix, form)
        target = None
        if root is not None:
            target = _earlier(results, folder, suffix, places[source], source)
        if target is None or target in taken:
            paths = (folder / f"{source.stem}{number}{mark}{suffix}" for number in _numbers())
            target = next(path for path in paths if path not in taken and path not in reserved)
        taken.add(target)
        jobs.append(Job(source, target, root))
    if out is not None:
        _refuse_mixing(jobs, photos, out)
    return jobs


def _earlier(
    results: dict[Known, Path], folder: Path, suffix: str, place: str, photo: Path
) -> Path | None:
    """Return a photo's result, which keeps its name whatever photos come to lie beside it."""
    if (folder, suffix, place) in results:
        return results[folder, suffix, place]
    try:
        return results.get((folder, suffix, _file(_stat(photo))))
    except OSError:  # the photo is gone or out of reach: its turn will tell why
        return None


def _refuse_mixing(jobs: Sequence[Job], photos: Sequence[Path], out: Path) -> None:
    # A folder is searched but for what lies below an ``out`` inside it.
    inside = set(out.resolve().parents)
    searched = {photo.resolve() for photo in photos if photo.is_dir()} - inside
    for folder in {job.target.parent for job in jobs}:
        among = searched.intersection((folder.resolve(), *folder.resolve().parents))
        if among:
            raise ConfigError(
                f"--out {out}: results would lie among the photos of {among.pop()}; name another "
                "folder, or leave --out away for results beside the photos"
            )


def unchanged(jobs: Sequence[Job], journals: dict[Path, Journal]) -> Iterator[Outcome | None]:
    """Yield for each job what became of it in an earlier run, if that still holds."""
    for job in jobs:
        try:
            yield journals[job.root].knows(job) if job.root is not None else None
        except OSError:  # the photo is gone or out of reach: its turn will tell why
            yield None


def journals_for(jobs: Iterable[Job], settings: Settings, weights: Path) -> dict[Path, Journal]:
    """Return the journals of the jobs' folders.

    Args:
        jobs: what is planned.
        settings: a photo is done again when they differ,
        weights: or when this defense does.

    Raises:
        WeightsError: there is no such defense.
    """
    roots = {job.root for job in jobs} - {None}
    if not roots:
        return {}
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such network")
    digest = hashlib.sha256(weights.read_bytes())
    digest.update(f"{settings} {__version__}".encode())
    key = digest.hexdigest()[:16]
    return {root: Journal(root, key) for root in roots if root is not None}


def run(
    protector: Protector,
    jobs: Sequence[Job],
    settings: Settings,
    journals: dict[Path, Journal],
    workers: int = 1,
    *,
    overwrite: bool = False,
    originals: Iterable[Path] = (),
) -> Iterator[Outcome]:
    """Protect photos, ``workers`` at a time, and yield what became of each, in their order.

    A photo that fails stops no other. Every result is written whole or not at all, and replaces
    no file, unless ``overwrite``, but a result that the folder's journal knows. Nothing replaces a
    photo of the ``jobs``, or one of the other ``originals``.
    """
    _tidy({job.target.parent for job in jobs})
    kept = {photo.resolve() for photo in (*originals, *(job.source for job in jobs))}

    def work(job: Job) -> Outcome:
        start = time.perf_counter()
        try:
            if job.target.resolve() in kept:
                raise PhotoError(f"{job.source}: {job.target} is an original; choose another --out")
            journal = None if job.root is None else journals[job.root]
            if not (overwrite or (journal and journal.owns(job))):
                refuse_existing(job.source, job.target)
            state = {} if journal is None else journal.state(job)
            outcome = _protect_file(protector, job, settings, journal)
            if journal is not None:
                journal.add(job, state, outcome)
        except UnmorphError as error:
            outcome = Outcome(str(job.source), FAILED, error=str(error))
        except OSError as error:  # a name too long for a result, a folder out of reach
            text = f"{job.source}: {job.target}: {error.strerror or error}"
            outcome = Outcome(str(job.source), FAILED, error=text)
        return dataclasses.replace(outcome, seconds=time.perf_counter() - start)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(work, jobs)
    finally:  # whoever stops listening need not wait for the photos at work
        pool.shutdown(wait=False, cancel_futures=True)


def refuse_unwritable(jobs: Iterable[Job]) -> None:
    """Refuse, before the work, what could not be written.

    Raises:
        PhotoError: a folder of results is out of reach; the message names it.
    """
    for folder in {job.target.parent for job in jobs}:
        there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
        if not os.access(there, os.W_OK | os.X_OK):
            raise PhotoError(f"{there}: cannot be written to; name another folder with --out")


def refuse_existing(source: Path, target: Path) -> None:
    """Refuse to make of a photo a file that is there.

    Raises:
        PhotoError: it is there.
    """
    if target.exists():
        raise PhotoError(
            f"{source}: {target} is there already: name another --out, or replace it with "
            "--overwrite"
        )


def protect_photo(
    protector: Protector, photo: Photo, name: str, settings: Settings, form: str
) -> tuple[bytes | None, Outcome]:
    """Return a photo's protected file, or None where it shows no face, and what became of it.

    Raises:
        PhotoError: it cannot be protected or written; the message calls it ``name``.
    """
    largest, boxes = settings.largest, settings.boxes
    try:
        result = protector.protect_photo(photo.pixels, largest=largest, boxes=boxes)
        if not result.squares:
            return None, Outcome(name, NO_FACE, losses=photo.losses)
        notes = _notes(photo.pixels, result.squares)
        data = encode(
            dataclasses.replace(photo, pixels=result.pixels),
            form,
            quality=settings.quality,
            keep_metadata=settings.keep_metadata,
            keep_location=settings.keep_location,
        )
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from error
    except MemoryError as error:
        raise PhotoError(f"{name}: does not fit in memory; shrink it first") from error
    psnr = None if result.psnr == float("inf") else result.psnr
    outcome = Outcome(
        name,
        PROTECTED,
        faces=len(result.squares),
        psnr=psnr,
        bytes_after=len(data),
        losses=losses_as(photo, form),
        notes=notes,
    )
    return data, outcome


def _notes(pixels: NDArray[np.uint8], squares: Sequence[Square]) -> tuple[str, ...]:
    """Return why faces in some squares of a photo are hardly protected."""
    notes = []
    if all(_is_grey(pixels, square) for square in squares):
        notes.append("no colour, little protection")
    elif small := [square.size for square in squares if square.size < SMALL]:
        faces = "a face" if len(small) == 1 else f"{len(small)} faces"
        notes.append(f"{faces} below {SMALL} pixels with hair and chin, little protection")
    return tuple(notes)


def _is_grey(pixels: NDArray[np.uint8], square: Square) -> bool:
    left, top, right, bottom = square.within(pixels)
    inside = pixels[top:bottom, left:right]
    return bool((inside == inside[..., :1]).all())


def _protect_file(
    protector: Protector, job: Job, settings: Settings, journal: Journal | None
) -> Outcome:
    form = WRITABLE[job.target.suffix.lower()]
    photo = read(job.source, max_megapixels=settings.max_megapixels)
    data, outcome = protect_photo(protector, photo, str(job.source), settings, form)
    outcome = dataclasses.replace(outcome, bytes_before=job.source.stat().st_size)
    if data is None:
        return outcome
    if journal is not None:
        journal.begin(job)
    write_whole(job.target, data, PhotoError)
    return dataclasses.replace(outcome, target=str(job.target))


def _tidy(folders: Iterable[Path]) -> None:
    """Remove half-written files that a killed run left in some folders."""
    for folder in folders:
        for partial in folder.glob(f".*{PARTIAL}"):
            with contextlib.suppress(OSError):  # another run may tidy too
                if time.time() - partial.stat().st_mtime > _ABANDONED:
                    partial.unlink()


def _numbers() -> Iterator[str]:
    """Yield what tells results of the same name apart: nothing for the first, then -2, -3."""
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def _photos(paths: Sequence[Path], out: Path | None) -> Iterator[tuple[Path, Path, Path | None]]:
    """Yield the photos at ``paths``, each with its path inside the named folder, and the folder."""
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name), None
            continue
        for inner in _inside(path, out):
            # A folder out of reach is a photo that fails, when its turn comes.
            if inner.suffix.lower() in READABLE or _is_folder(inner):
                yield inner, inner.relative_to(path), path


def passed_over(paths: Sequence[Path], out: Path | None) -> Counter[str]:
    """Return how many files in the folders among ``paths`` are taken for no photos, by suffix.

    Folders that are links are among them; hidden files and our own results are not.
    """
    kinds: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            others = (p for p in _inside(path, out) if p.suffix.lower() not in READABLE)
            kinds.update(p.suffix.lower() or "no suffix" for p in others if not _is_folder(p))
    return kinds


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _inside(folder: Path, out: Path | None) -> list[Path]:
    """Return the files of a folder, links to folders, and sub-folders out of reach, in order.

    Hidden ones, our own results and whatever lies below ``out`` are not among them, nor is what is
    neither file nor folder.

    Raises:
        PhotoError: the folder itself is out of reach.
    """
    results = None if out is None else out.resolve()
    found: list[Path] = []
    made: set[Path] = set()

    def note(error: OSError) -> None:
        place = Path(error.filename)
        if place == folder:
            raise PhotoError(f"{folder}: cannot be read: {error.strerror}") from error
        found.append(place)

    for name, folders, files in os.walk(folder, onerror=note):
        here = Path(name)
        if JOURNAL in files:
            made.update(Journal(here, "").made())
        links = [inner for inner in folders if (here / inner).is_symlink()]
        folders[:] = [
            inner
            for inner in folders
            if not inner.startswith(".") and (here / inner).resolve() != results
        ]
        found += [here / inner for inner in (*files, *links) if not inner.startswith(".")]
    return sorted(
        path
        for path in found
        if path not in made
        and not path.stem.endswith(MARK)
        and (path.is_symlink() or path.is_file() or path.is_dir())
    )

"""Many photo files protected, several at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmorph import __version__
from unmorph.bounds import are_grey
from unmorph.errors import PhotoError, UnmorphError, WeightsError
from unmorph.faces.crop import Square, crop_square
from unmorph.files import PARTIAL, inode, write_whole
from unmorph.journal import FAILED, NO_FACE, PLANNED, PROTECTED, Job, Journal, Outcome
from unmorph.photo import MAX_MEGAPIXELS, WRITABLE, Photo, encode, losses_as, opened, read
from unmorph.protector import DEFAULT_STRENGTH, Protector
from unmorph.refining import AIMS

#: A face whose square (`unmorph.faces.crop.frame`) has shorter sides than this, in pixels, holds
#: too little of the perturbation's detail (`results/formats.json`).
SMALL = 64

#: From this age on, in seconds, a half-written file is what a killed run left behind.
_ABANDONED = 60


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
    #: As `Protector.load` takes them.
    refine: int = 0
    strength: str = DEFAULT_STRENGTH


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
    # What a photo may be at most changes no result, and a strength only what refinement is after.
    aim = AIMS[settings.strength] if settings.refine else None
    decisive = dataclasses.replace(settings, max_megapixels=0, strength="")
    digest.update(f"{decisive} {aim} {__version__}".encode())
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
    kept = _inodes(jobs, originals)

    def protect(job: Job) -> Outcome:
        _refuse(job, kept)
        journal = None if job.root is None else journals[job.root]
        return _protect_file(protector, job, settings, journal, overwrite)

    def work(job: Job) -> Outcome:
        start = time.perf_counter()
        outcome = _tried(protect, job)
        return dataclasses.replace(outcome, seconds=time.perf_counter() - start)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(work, jobs)
    finally:  # whoever stops listening need not wait for the photos at work
        pool.shutdown(wait=False, cancel_futures=True)


def planned(
    jobs: Sequence[Job],
    journals: dict[Path, Journal],
    *,
    overwrite: bool = False,
    originals: Iterable[Path] = (),
) -> Iterator[Outcome]:
    """Yield what `run` would do, and what it would refuse, without decoding a photo."""
    kept = _inodes(jobs, originals)

    def look(job: Job) -> Outcome:
        _refuse(job, kept)
        with opened(job.source):  # it is there, and in reach
            pass
        owned = job.root is not None and journals[job.root].owns(job)
        if job.target.exists() and not (overwrite or owned):
            raise is_there(job.source, job.target)
        return Outcome(str(job.source), PLANNED, str(job.target))

    return (_tried(look, job) for job in jobs)


def refuse_unwritable(jobs: Sequence[Job]) -> None:
    """Refuse, before the networks are loaded, jobs of which no result could be written.

    Raises:
        PhotoError: all folders of results are out of reach.
    """
    first = None
    for job in jobs:
        refusal = _unwritable(job)
        if refusal is None:
            return
        first = first or refusal
    if first is not None:
        raise first


def _unwritable(job: Job) -> PhotoError | None:
    """Return the refusal of a job whose folder of results is out of reach; else None."""
    folder = job.target.parent
    if not os.path.lexists(job.source):  # which is what will be said, when its turn comes
        return None
    there = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)
    if os.access(there, os.W_OK | os.X_OK):
        return None
    return PhotoError(
        f"{job.source}: {there}: cannot be written to; name another folder with --out"
    )


def is_there(source: Path, target: Path) -> PhotoError:
    """Return the refusal to make of a photo a file that is there."""
    return PhotoError(
        f"{source}: {target} is there already: name another --out, or replace it with --overwrite"
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
    except WeightsError as error:
        raise PhotoError(
            f"{name}: {error}; where memory is short, shrink the photo or take fewer --workers"
        ) from error
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
    grey = are_grey(np.stack([crop_square(pixels, square) for square in squares]))
    small = ~grey & [square.size < SMALL for square in squares]
    reasons = {"without colour": grey, f"below {SMALL} pixels with hair and chin": small}
    return tuple(
        f"{'a face' if which.sum() == 1 else f'{which.sum()} faces'} {reason}, little protection"
        for reason, which in reasons.items()
        if which.any()
    )


def _tried(work: Callable[[Job], Outcome], job: Job) -> Outcome:
    """Return what became of a photo, whatever goes wrong."""
    try:
        return work(job)
    except UnmorphError as error:
        text = str(error) if str(job.source) in str(error) else f"{job.source}: {error}"
    except OSError as error:  # a name too long for a result, a folder out of reach
        text = f"{job.source}: {job.target}: {error.strerror or error}"
    except Exception as error:  # a photo that fails stops no other
        text = f"{job.source}: an error in unmorph: {type(error).__name__}: {error}"
    return Outcome(str(job.source), FAILED, error=text)


def _inodes(jobs: Sequence[Job], originals: Iterable[Path]) -> set[tuple[int, int] | None]:
    """Return what tells the originals, which nothing replaces."""
    return {inode(photo) for photo in (*originals, *(job.source for job in jobs))} - {None}


def _refuse(job: Job, kept: Container[tuple[int, int] | None]) -> None:
    """Refuse what cannot be done, before a photo is read."""
    if inode(job.target) in kept:
        raise PhotoError(f"{job.source}: {job.target} is an original; choose another --out")
    if refusal := _unwritable(job):
        raise refusal


def _protect_file(
    protector: Protector, job: Job, settings: Settings, journal: Journal | None, overwrite: bool
) -> Outcome:
    replace = overwrite or (journal is not None and journal.owns(job))
    if not replace and job.target.exists():
        if done := _done_meanwhile(job, journal):
            return done
        replace = True
    state = {} if journal is None else journal.state(job)
    form = WRITABLE[job.target.suffix.lower()]
    photo = read(job.source, max_megapixels=settings.max_megapixels)
    data, outcome = protect_photo(protector, photo, str(job.source), settings, form)
    outcome = dataclasses.replace(outcome, bytes_before=job.source.stat().st_size)
    if data is not None:
        if journal is not None:
            journal.begin(job, len(data))
        try:
            write_whole(job.target, data, PhotoError, replace=replace)
        except FileExistsError:
            if done := _done_meanwhile(job, journal):
                return done
            write_whole(job.target, data, PhotoError)
        outcome = dataclasses.replace(outcome, target=str(job.target))
    if journal is not None:
        journal.add(job, state, outcome)
    return outcome


def _done_meanwhile(job: Job, journal: Journal | None) -> Outcome | None:
    """Return what another run made of a photo, or None where it left a result to replace.

    Raises:
        PhotoError: the file that is there is none of its folder's results.
    """
    if journal is not None:
        journal.reread()
        if journal.owns(job):
            return journal.knows(job)
    raise is_there(job.source, job.target)


def _tidy(folders: Iterable[Path]) -> None:
    """Remove half-written files that a killed run left in some folders."""
    for folder in folders:
        for partial in folder.glob(f".*{PARTIAL}"):
            with contextlib.suppress(OSError):  # another run may tidy too
                if time.time() - partial.stat().st_mtime > _ABANDONED:
                    partial.unlink()

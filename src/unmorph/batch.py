"""Many photo files protected, several at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmorph import __version__
from unmorph.errors import PhotoError, UnmorphError, WeightsError
from unmorph.faces.crop import Square
from unmorph.files import PARTIAL, write_whole
from unmorph.journal import FAILED, NO_FACE, PROTECTED, Job, Journal, Outcome
from unmorph.photo import MAX_MEGAPIXELS, WRITABLE, Photo, encode, losses_as, read
from unmorph.protector import Protector

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
    #: As `Protector.load` takes it.
    refine: int = 0


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

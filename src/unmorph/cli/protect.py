"""``unmorph protect``: photos in, protected photos out.

Exit codes: 0 every photo was protected; 1 at least one failed; 2 wrong usage; 4 none failed, but
at least one showed no face and was not written; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unmorph.cli._options import STOPPED
from unmorph.cli._progress import progress

if TYPE_CHECKING:
    from unmorph.batch import Settings
    from unmorph.journal import Job, Outcome
    from unmorph.protector import Protector

    #: Loads the protector, given the number of ``threads``.
    Load = Callable[..., Protector]

#: Exit codes.
_FAILED, _NO_FACE = 1, 4

#: Photos at a time at most, unless asked for more: each takes memory.
_WORKERS = 8

_PIPE = Path("-")

#: As ``--format``: each photo's own, or PNG where that cannot be written.
_SAME = "same"


def command(
    photos: list[Path] = typer.Argument(
        ...,
        metavar="PHOTO...",
        help="Photos, or folders of photos (with their sub-folders); - reads one from stdin.",
        readable=False,  # a photo out of reach fails by itself
    ),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        help="A folder for the results, not the photos' own; for one photo also a file, whose "
        "suffix names the format, or - for stdout. By default PORTRAIT-protected beside it.",
    ),
    form: str | None = typer.Option(
        None,
        "--format",
        help="png, jpeg, webp, tiff, avif or heic; same for each photo's own. By default png, "
        "which keeps every pixel, unless --out names a file of another format.",
    ),
    quality: int | None = typer.Option(
        None,
        min=1,
        max=100,
        help="Of JPEG, AVIF and HEIC, 95 by default; makes WebP smaller too, which else keeps "
        "every pixel. Low qualities wash the protection out. PNG and TIFF have none; with --format "
        "same, such photos among others keep every pixel.",
    ),
    keep_metadata: bool = typer.Option(
        False,
        "--keep-metadata/--strip-metadata",
        help="Keep the camera's notes, without the place.",
    ),
    keep_location: bool = typer.Option(
        False, "--keep-location", help="Keep the place (GPS) too; needs --keep-metadata."
    ),
    faces: str = typer.Option(
        "all",
        metavar="all|largest|N",
        help="Protect all faces, the largest, or the N largest; 0 leaves those given by --box.",
    ),
    box: list[str] | None = typer.Option(
        None,
        metavar="X,Y,W,H",
        help="One more face, from forehead to chin, in pixels of the upright photo, where the "
        "detector misses it; can be repeated.",
    ),
    refine: int = typer.Option(
        0,
        min=0,
        max=100,
        metavar="N",
        help="Follow with N gradient steps on each face: about half a second or more each on a "
        "laptop. As many edits are stopped or somewhat more, and less shows; 10 is a good choice.",
    ),
    workers: int | None = typer.Option(
        None,
        min=1,
        help="Photos at a time, a core each; by default as many as there are cores, up to eight.",
    ),
    again: bool = typer.Option(
        False, "--again", help="Do all photos of a folder, not only new and changed ones."
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace files that are there, and are no results of a folder's."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be done."),
    as_json: bool = typer.Option(False, "--json", help="Print a line of JSON a photo."),
    max_megapixels: float = typer.Option(100.0, min=0, help="Refuse larger photos."),
    strength: str = typer.Option(
        "subtle",
        metavar="subtle|strong",
        help="subtle is for nobody to see; strong keeps more of small faces' protection through "
        "recompression and shrinking, and a keen eye can see it.",
    ),
    weights: Path | None = typer.Option(
        None, "--weights", help="Another defense, as `unmorph export` writes it."
    ),
) -> None:
    """Protect the faces in photos.

    Originals are never changed: every result is a new file. No file that is there is replaced,
    unless --overwrite says so or the folder's journal knows it for an earlier result. A line a
    photo tells how many faces were protected, the likeness to the original over those faces, and
    the seconds it took. Photos that failed are listed at the end.

    A folder has a journal of what was done beside its results: a second run does only what is new
    or changed. A run can be ended at any moment; there are no half-written results.

    Exits with 0 when every photo was protected, 1 when one failed, 2 after wrong usage, and 4
    when one showed no face (nothing is written for it).

    Examples:

        unmorph protect portrait.jpg

        unmorph protect portrait.jpg --refine 10

        unmorph protect album/ -o protected/

        unmorph protect album/ -o protected/ --dry-run

        unmorph protect crowd.heic --faces largest --format jpeg

        unmorph protect - < portrait.jpg > protected.png
    """
    from PIL import Image

    from unmorph.batch import Settings
    from unmorph.protector import DEFAULT_STRENGTH, Protector
    from unmorph.runtime import shipped_defense

    if keep_location and not keep_metadata:
        raise typer.BadParameter("--keep-location needs --keep-metadata")
    settings = Settings(
        _format(form, out),
        quality,
        keep_metadata,
        keep_location,
        _count(faces, bool(box)),
        tuple(map(_box, box or ())),
        max_megapixels,
        refine,
        strength,
    )
    several = len(photos) > 1 or os.path.isdir(photos[0])
    if box and several:
        raise typer.BadParameter("--box belongs to one photo: name one")
    if weights is not None and strength != DEFAULT_STRENGTH:
        raise typer.BadParameter("--weights and --strength each name a defense: choose one")
    defense = shipped_defense(strength) if weights is None else weights
    load = partial(Protector.load, weights, strength=strength, refine=refine)
    Image.MAX_IMAGE_PIXELS = None  # --max-megapixels decides
    if _PIPE in photos or out == _PIPE:
        if several:
            raise typer.BadParameter("- stands for one photo, by itself")
        if dry_run:
            raise typer.BadParameter("--dry-run: there is nothing to plan for a pipe")
        _pipe(photos[0], out or _PIPE, settings, load, workers, overwrite, as_json)
    else:
        _files(photos, out, settings, load, defense, workers, again, overwrite, dry_run, as_json)


def _files(
    photos: Sequence[Path],
    out: Path | None,
    settings: Settings,
    load: Load,
    defense: Path,
    workers: int | None,
    again: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from unmorph import album, batch
    from unmorph.journal import NO_FACE
    from unmorph.photo import WRITABLE

    found = album.search(photos, out)
    jobs = album.plan(found, settings.format)
    _refuse_quality(settings, {WRITABLE.get(job.target.suffix.lower()) for job in jobs})
    journals = batch.journals_for(jobs, settings, defense)
    known = [None] * len(jobs) if again else list(batch.unchanged(jobs, journals))
    todo = [job for job, outcome in zip(jobs, known, strict=True) if outcome is None]
    batch.refuse_unwritable(todo)
    originals = [job.source for job in jobs]
    # Of one photo the refinement's steps are counted.
    single = len(todo) == 1
    length = 0 if dry_run else settings.refine if single else len(todo)
    counts: dict[str, int] = {}
    failures: list[str] = []
    try:
        with progress(length) as (say, advance):
            if dry_run:
                outcomes = batch.planned(todo, journals, overwrite=overwrite, originals=originals)
            else:
                load = partial(load, on_step=advance if single else None)
                outcomes = _outcomes(
                    todo, settings, journals, load, _cores(workers), overwrite, originals
                )
            for outcome in (o for o in known if o is not None):
                counts[outcome.status] = counts.get(outcome.status, 0) + 1
                if as_json:
                    say(json.dumps(dataclasses.asdict(outcome)))
                elif outcome.status == NO_FACE or len(jobs) == 1:
                    say(_line(outcome))
            for outcome in outcomes:
                counts[outcome.status] = counts.get(outcome.status, 0) + 1
                if outcome.error is not None:
                    failures.append(outcome.error)
                if as_json:
                    say(json.dumps(dataclasses.asdict(outcome)))
                elif outcome.error is None:
                    say(_line(outcome))
                if not single:
                    advance()
    except KeyboardInterrupt:
        done = sum(counts.values())
        more = "; the same command goes on" if journals else ""
        typer.echo(f"stopped: {done} of {len(jobs)} photos{more}", err=True)
        sys.stdout.flush()
        os._exit(STOPPED)  # without waiting for photos at work: no result is ever half written
    if len(jobs) > 1 and not as_json:
        typer.echo(f"{len(jobs)} photos: " + ", ".join(f"{n} {s}" for s, n in counts.items()))
    if found.passed_over:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.passed_over.items()))
        typer.echo(f"passed over: {kinds}", err=True)
    for failure in failures:
        typer.echo(f"unmorph: {failure}", err=True)
    if failures or NO_FACE in counts:
        raise typer.Exit(_FAILED if failures else _NO_FACE)


def _outcomes(
    jobs: Sequence[Job],
    settings: Settings,
    journals: dict[Path, Any],
    load: Load,
    cores: int,
    overwrite: bool,
    originals: Sequence[Path],
) -> Iterator[Outcome]:
    from unmorph import batch

    if not jobs:
        return
    at_once = min(cores, len(jobs))
    # A photo by itself has all cores; several have one each.
    threads = cores if at_once == 1 else 1
    protector = load(threads=threads)
    yield from batch.run(
        protector, jobs, settings, journals, at_once, overwrite=overwrite, originals=originals
    )


def _pipe(
    photo: Path,
    out: Path,
    settings: Settings,
    load: Load,
    workers: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Protect one photo where at least one end is a pipe."""
    from unmorph.errors import PhotoError
    from unmorph.journal import FAILED, NO_FACE, Outcome
    from unmorph.photo import WRITABLE

    form = settings.format
    if out == _PIPE:
        if sys.stdout.isatty():
            raise typer.BadParameter("a photo is no text for a terminal: name a file with --out")
    elif out.is_dir():
        raise typer.BadParameter("a photo from stdin needs a file as --out, or -")
    elif out.suffix.lower() not in WRITABLE:
        raise typer.BadParameter(
            f"{out}: no format that can be written; choose {', '.join(WRITABLE)}"
        )
    elif form not in (None, WRITABLE[out.suffix.lower()]):
        raise typer.BadParameter(f"{out} is not what a file in the format {form} is called")
    else:
        settings = dataclasses.replace(settings, format=WRITABLE[out.suffix.lower()])

    def say(outcome: Outcome) -> None:
        line = json.dumps(dataclasses.asdict(outcome)) if as_json else _line(outcome)
        typer.echo(line, err=out == _PIPE)  # beside a photo on stdout there is no room for text

    try:
        outcome = _piped(photo, out, settings, load, _cores(workers), overwrite)
    except PhotoError as error:
        if as_json:
            say(Outcome(str(photo), FAILED, error=str(error)))
        raise
    say(outcome)
    if outcome.status == NO_FACE:
        raise typer.Exit(_NO_FACE)


def _piped(
    photo: Path, out: Path, settings: Settings, load: Load, cores: int, overwrite: bool
) -> Outcome:
    from unmorph import batch
    from unmorph.errors import PhotoError
    from unmorph.files import write_whole
    from unmorph.photo import decode, read

    if out != _PIPE and out.exists():
        if photo == _PIPE and _is_read_from(out):
            raise PhotoError(f"stdin: {out} is an original; choose another --out")
        if not overwrite:
            raise batch.is_there(photo, out)
    start = time.perf_counter()
    if photo == _PIPE:
        given = sys.stdin.buffer.read()
        size, source = len(given), decode(given, "stdin", max_megapixels=settings.max_megapixels)
    else:
        source = read(photo, max_megapixels=settings.max_megapixels)
        size = photo.stat().st_size
    form = settings.format or source.format
    _refuse_quality(settings, {form})
    name = "stdin" if photo == _PIPE else str(photo)
    with progress(settings.refine) as (_, advance):
        protector = load(threads=cores, on_step=advance)
        data, outcome = batch.protect_photo(protector, source, name, settings, form)
    if data is not None and out == _PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif data is not None:
        try:
            write_whole(out, data, PhotoError, replace=overwrite)
        except FileExistsError:  # another program has written it meanwhile
            raise batch.is_there(photo, out) from None
    return dataclasses.replace(
        outcome,
        source=str(photo),
        target=None if data is None else str(out),
        bytes_before=size,
        seconds=time.perf_counter() - start,
    )


def _is_read_from(path: Path) -> bool:
    """Return whether stdin is that file."""
    try:
        return os.path.samestat(os.fstat(sys.stdin.fileno()), path.stat())
    except (OSError, ValueError):  # stdin is no file
        return False


def _cores(asked: int | None) -> int:
    """Return how many cores to use: by default all that this process may, but not too many."""
    if asked is not None:
        return asked
    has_affinity = hasattr(os, "sched_getaffinity")
    there = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(there, _WORKERS)


def _line(outcome: Outcome) -> str:
    """Return what to say of a photo."""
    from unmorph.journal import NO_FACE, PLANNED, UNCHANGED

    if outcome.status == PLANNED:
        return f"{outcome.source} -> {outcome.target}"
    faces = f"{outcome.faces} face{'s' if outcome.faces > 1 else ''}"
    parts = []
    if outcome.status == NO_FACE:
        parts.append("no face found, nothing written")
    elif outcome.status == UNCHANGED:
        parts += ["unchanged", faces]
    else:
        parts.append(faces)
        parts.append("no change" if outcome.psnr is None else f"{outcome.psnr:.1f} dB")
        if outcome.seconds:
            parts.append(f"{outcome.seconds:.2f} s")
        if outcome.bytes_before:
            parts.append(f"{outcome.bytes_after / outcome.bytes_before:.1f} times the size")
    line = ", ".join((*parts, *outcome.losses, *outcome.notes))
    return f"{outcome.source}: {line}" + (f" -> {outcome.target}" if outcome.target else "")


def _format(form: str | None, out: Path | None) -> str | None:
    """Return the format to write; None for each photo's own, or for what ``out`` is called."""
    from unmorph.album import names_file
    from unmorph.photo import FORMATS, WRITABLE

    is_named = out is not None and names_file(out)
    if form is None:
        return None if is_named else "png"
    if form == _SAME and is_named:
        raise typer.BadParameter(f"--format same: {out} names the format; leave one of them out")
    form = WRITABLE.get(f".{form}", form)
    if form not in (*FORMATS, _SAME):
        raise typer.BadParameter(f"--format: choose {', '.join((*FORMATS, _SAME))}")
    return None if form == _SAME else form


def _refuse_quality(settings: Settings, forms: Collection[str | None]) -> None:
    """Refuse a quality that no result would have."""
    from unmorph.photo import LOSSY

    if settings.quality is not None and not any(form in LOSSY for form in forms):
        raise typer.BadParameter(
            f"--quality: what would be written has none; choose --format {', '.join(LOSSY)}, or "
            "a suffix of these"
        )


def _count(faces: str, boxes: bool) -> int | None:
    if faces == "all":
        return None
    if faces == "largest":
        return 1
    if not faces.isdecimal() or (int(faces) < 1 and not boxes):
        raise typer.BadParameter("--faces: expected all, largest, or a number; 0 only with --box")
    return int(faces)


def _box(text: str) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom."""
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError:
        left = top = width = height = 0
    if not (width > 0 and height > 0 and max(abs(left), abs(top), width, height) < 1e6):
        raise typer.BadParameter(f"--box {text}: expected x,y,width,height in pixels")
    return left, top, left + width, top + height

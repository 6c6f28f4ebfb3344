"""``unmorph protect``: photos in, protected photos out.

Exit codes: 0 every photo was protected; 1 at least one failed; 2 wrong usage; 4 none failed, but
at least one showed no face and was not written.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unmorph.errors import PhotoError

if TYPE_CHECKING:
    from unmorph.protector import Protector

FAILED = 1
NO_FACE = 4

#: What the result of ``portrait.jpg`` is called beside it: ``portrait-protected.png``.
_MARK = "-protected"

#: The files that are taken for photos in a folder.
_PHOTOS = frozenset(
    (".avif", ".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)


def command(
    photos: list[Path] = typer.Argument(
        ..., metavar="PHOTO...", help="Photos, or folders of photos (with their sub-folders)."
    ),
    out: Path | None = typer.Option(
        None,
        "-o",
        "--out",
        help="A folder for the results; for one photo also a file, whose suffix names the format "
        "(PNG, WebP, TIFF, JPEG). By default PORTRAIT-protected.png beside each photo.",
    ),
    keep_metadata: bool = typer.Option(
        False,
        "--keep-metadata/--strip-metadata",
        help="Keep the camera's notes, without the place.",
    ),
    keep_location: bool = typer.Option(
        False, "--keep-location", help="Keep the place (GPS) too; needs --keep-metadata."
    ),
    weights: Path | None = typer.Option(
        None, "--weights", help="Another defense, as `unmorph export` writes it."
    ),
    threads: int | None = typer.Option(None, min=1, help="Cores to use; by default all."),
) -> None:
    """Protect the faces in photos.

    Originals are never changed: every result is a new file. A line a photo tells how many faces
    were protected, the likeness to the original over those faces, and the seconds it took.

    Exits with 0 when every photo was protected, 1 when one failed, 2 after wrong usage, and 4
    when one showed no face (nothing is written for it).
    """
    if keep_location and not keep_metadata:
        raise typer.BadParameter("--keep-location needs --keep-metadata")
    jobs = _plan(photos, out)
    from unmorph.protector import Protector

    protector = Protector.load(weights, threads=threads)
    originals = {source.resolve() for source, _ in jobs}
    failed = faceless = False
    for source, target in jobs:
        try:
            if target.resolve() in originals:
                raise PhotoError(f"{source}: {target} is an original; choose another --out")
            line = _protect(protector, source, target, keep_metadata, keep_location)
        except PhotoError as error:
            failed = True
            typer.echo(f"unmorph: {error}", err=True)
        else:
            faceless |= line is None
            typer.echo(f"{source}: {line or 'no face found, nothing written'}")
    if failed or faceless:
        raise typer.Exit(FAILED if failed else NO_FACE)


def _protect(
    protector: Protector, source: Path, target: Path, keep_metadata: bool, keep_location: bool
) -> str | None:
    """Protect one photo and return what to say of it, or None where it shows no face."""
    import dataclasses

    from unmorph.photo import read, write

    start = time.perf_counter()
    photo = read(source)
    result = protector.protect_photo(photo.pixels)
    if not result.faces:
        return None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PhotoError(f"{target}: cannot be written: {error}") from error
    write(
        dataclasses.replace(photo, pixels=result.pixels),
        target,
        keep_metadata=keep_metadata,
        keep_location=keep_location,
    )
    faces = f"{len(result.faces)} face{'s' if len(result.faces) > 1 else ''}"
    seconds = time.perf_counter() - start
    return f"{faces}, {result.psnr:.1f} dB, {seconds:.2f} s -> {target}"


def _plan(photos: Sequence[Path], out: Path | None) -> list[tuple[Path, Path]]:
    """Return each photo and the file that it becomes, no two the same."""
    found = list(dict(pair for path in photos for pair in _photos(path)).items())
    if not found:
        raise PhotoError("no photos in " + ", ".join(map(str, photos)))
    if out is not None and out.suffix.lower() in _PHOTOS and not out.is_dir():
        if len(found) == 1 and not photos[0].is_dir():
            return [(found[0][0], out)]
        raise typer.BadParameter(f"{out} is one file, but there are more photos: name a folder")
    jobs: list[tuple[Path, Path]] = []
    taken: set[Path] = set()
    for source, inner in found:
        folder, mark = (source.parent, _MARK) if out is None else ((out / inner).parent, "")
        names = (f"{source.stem}{number}{mark}.png" for number in _numbers())
        target = next(folder / name for name in names if folder / name not in taken)
        taken.add(target)
        jobs.append((source, target))
    return jobs


def _numbers() -> Iterator[str]:
    """Yield what tells results of the same name apart: nothing for the first, then -2, -3."""
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def _photos(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the photos at ``path``, each with its path inside the named folder."""
    if not path.is_dir():
        yield path, Path(path.name)
        return
    for inner in sorted(path.rglob("*")):
        if inner.suffix.lower() in _PHOTOS and not inner.stem.endswith(_MARK) and inner.is_file():
            yield inner, inner.relative_to(path)

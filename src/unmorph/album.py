"""Which photos a folder holds, and which file each becomes."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from unmorph.errors import ConfigError, PhotoError
from unmorph.journal import JOURNAL, Job, Journal, Known, file_of, place_of, stat_of
from unmorph.photo import READABLE, WRITABLE, suffix_for

#: What the result of ``portrait.jpg`` is called beside it: ``portrait-protected.png``.
MARK = "-protected"


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
    places = {source: place_of(source) for source, (_, root) in found if root is not None}
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
        return results.get((folder, suffix, file_of(stat_of(photo))))
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

"""Which photos a folder holds, and which file each becomes."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unmorph.errors import ConfigError, PhotoError
from unmorph.files import inode
from unmorph.journal import JOURNAL, Job, Journal, Known, absolute, file_of, place_of, stat_of
from unmorph.photo import READABLE, WRITABLE, suffix_for

#: What the result of ``portrait.jpg`` is called beside it: ``portrait-protected.png``.
MARK = "-protected"


@dataclass(frozen=True)
class Found:
    """What was found in one search."""

    #: The files and folders that were named.
    paths: Sequence[Path]
    #: The folder for the results; for one photo also a file; None for results beside the photos.
    out: Path | None
    #: Each photo's path inside the named folder, and the folder; None for a photo that was named.
    photos: dict[Path, tuple[Path, Path | None]]
    #: How many files in folders are taken for no photos, by suffix, and how many folders that are
    #: links and results beside their photos; not hidden files, and results that a journal knows.
    passed_over: Counter[str]


def search(paths: Sequence[Path], out: Path | None) -> Found:
    """Find the photos at ``paths``, files and folders, for results in ``out``.

    Raises:
        PhotoError: the only one is a folder out of reach.
    """
    # By place: a photo may be named, and found, more than once.
    photos: dict[str, tuple[Path, tuple[Path, Path | None]]] = {}
    kinds: Counter[str] = Counter()
    for path in paths:
        if not os.path.isdir(path):  # nor what is out of reach, at which `Path.is_dir` may stop
            photos[place_of(path)] = path, (Path(path.name), None)
            continue
        try:
            inside = _inside(path, out)
        except PhotoError:
            if len(paths) == 1:
                raise
            # A photo that fails, when its turn comes.
            photos[place_of(path)] = path, (Path(path.name), None)
            continue
        stems = {(inner.parent, inner.stem) for inner in inside if _is_readable(inner)}
        for inner in inside:
            if os.path.isdir(inner) and os.path.islink(inner):
                kinds["folders that are links"] += 1
            # A folder out of reach is a photo that fails, when its turn comes.
            elif not (_is_readable(inner) or os.path.isdir(inner)):
                kinds[inner.suffix.lower() or "no suffix"] += 1
            elif any((inner.parent, stem) in stems for stem in _stems_of_original(inner)):
                kinds["results beside their photos"] += 1
            else:
                photos[place_of(inner)] = inner, (inner.relative_to(path), path)
    return Found(paths, out, dict(photos.values()), kinds)


def names_file(out: Path) -> bool:
    """Return whether ``out`` is one file's name rather than a folder's."""
    return out.suffix.lower() in READABLE and not os.path.isdir(out)


def plan(found: Found, form: str | None = None) -> list[Job]:
    """Return each photo and the file that it becomes.

    Without ``out`` a result lies beside its photo. A folder keeps its tree below ``out``. No two
    results are the same file. What a folder holds, and several photos with an ``out``, have a
    journal: the nearest one above the result, or a new one in ``out`` or in the folder.

    Args:
        found: the photos, as `search` returns them.
        form: a name in `unmorph.photo.FORMATS`; by default each photo's own, or PNG.

    Raises:
        PhotoError: there are no photos.
        ConfigError: its ``out`` is one file for several photos, of another format, or of one that
            cannot be written; or results would lie among the photos of a folder, where the next
            run takes them for photos.
    """
    out, photos = found.out, found.photos
    if not photos:
        raise PhotoError("no photos in " + ", ".join(map(str, found.paths)))
    if out is not None and names_file(out):
        if len(photos) > 1 or os.path.isdir(found.paths[0]):
            raise ConfigError(f"{out} is one file, but there are more photos: name a folder")
        if out.suffix.lower() not in WRITABLE:
            raise ConfigError(f"{out}: cannot write this format; choose {', '.join(WRITABLE)}")
        if form is not None and WRITABLE.get(out.suffix.lower()) != form:
            raise ConfigError(f"{out} is not what a file in the format {form} is called")
        return [Job(next(iter(photos)), out)]
    is_one = len(photos) == 1 and not os.path.isdir(found.paths[0])
    if is_one and out is not None and not os.path.lexists(out) and _has_suffix(out):
        raise ConfigError(
            f"{out}: no format that can be written; choose {', '.join(WRITABLE)}, or make the "
            "folder first if it is one"
        )
    jobs: list[Job] = []
    folders = {
        source: source.parent if out is None else (out / inner).parent
        for source, (inner, _) in photos.items()
    }
    roots = _roots(found, folders)
    places = {source: place_of(source) for source, root in roots.items() if root is not None}
    here = set(places.values())
    kept = {root for root in roots.values() if root is not None}
    earlier = [result for root in kept for result in Journal(root, "").results(here)]
    results, reserved = dict(earlier), {target for _, target in earlier}
    taken: set[Path] = set()
    mark = MARK if out is None else ""
    for source, root in roots.items():
        folder = folders[source]
        suffix = suffix_for(source.suffix, form)
        target = None
        if root is not None:
            target = _earlier(results, folder, suffix, places[source], source)
        if target is None or absolute(target) in taken:
            paths = (folder / f"{source.stem}{number}{mark}{suffix}" for number in _numbers())
            # Not of their union, which each photo of a large album would make anew.
            used = (taken, reserved)
            target = next(p for p in paths if not any(absolute(p) in names for names in used))
        taken.add(absolute(target))
        jobs.append(Job(source, target, root))
    if out is not None:
        _refuse_mixing(jobs, found.paths, out)
    return jobs


def _has_suffix(path: Path) -> bool:
    """Return whether a name ends as a file's does, and not in a number as in ``summer.2024``."""
    return re.search("[A-Za-z]", path.suffix) is not None


def _roots(found: Found, folders: dict[Path, Path]) -> dict[Path, Path | None]:
    """Return the folder whose journal knows each photo, by the folder of its result."""
    over = {folder: _journal_over(folder) for folder in set(folders.values())}
    roots: dict[Path, Path | None] = {}
    for source, (_, named) in found.photos.items():
        has_journal = named is not None or (found.out is not None and len(found.photos) > 1)
        below = found.out or named
        new = None if below is None else absolute(below)
        roots[source] = (over[folders[source]] or new) if has_journal else None
    return roots


def _journal_over(folder: Path) -> Path | None:
    """Return the nearest folder that has a journal of ours, from one upwards."""
    ours, folder = os.R_OK | os.W_OK, absolute(folder)
    places = (folder, *folder.parents)
    return next((place for place in places if os.access(place / JOURNAL, ours)), None)


def _earlier(
    results: dict[Known, Path], folder: Path, suffix: str, place: str, photo: Path
) -> Path | None:
    """Return a photo's result, which keeps its name whatever photos come to lie beside it."""
    here = absolute(folder)
    result = results.get((here, suffix, place))
    if result is None:
        try:
            result = results.get((here, suffix, file_of(stat_of(photo))))
        except OSError:  # the photo is gone or out of reach: its turn will tell why
            return None
    return None if result is None else folder / result.name


def _refuse_mixing(jobs: Sequence[Job], paths: Sequence[Path], out: Path) -> None:
    # A folder is searched but for what lies below an ``out`` inside it.
    searched = {inode(path): path for path in paths if os.path.isdir(path)}
    for folder in _real(out).parents:
        searched.pop(inode(folder), None)
    for folder in {_real(job.target.parent) for job in jobs}:
        for place in (folder, *folder.parents):
            if among := searched.get(inode(place)):
                raise ConfigError(
                    f"--out {out}: results would lie among the photos of {among}; name another "
                    "folder, or leave --out away for results beside the photos"
                )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `Path.resolve` refuses links that lead to themselves


def _numbers() -> Iterator[str]:
    """Yield what tells results of the same name apart: nothing for the first, then -2, -3."""
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def _is_readable(path: Path) -> bool:
    return path.suffix.lower() in READABLE


def _stems_of_original(result: Path) -> set[str]:
    """Return what the photo may be called that a file is the result of, by its name."""
    stem = result.stem.removesuffix(MARK)
    return set() if stem == result.stem else {stem, re.sub(r"-\d+$", "", stem)}


def _inside(folder: Path, out: Path | None) -> list[Path]:
    """Return the files of a folder, links to folders, and sub-folders out of reach, in order.

    Hidden ones, results that a journal knows and whatever lies below ``out`` are not among them,
    nor is what is neither file nor folder.

    Raises:
        PhotoError: the folder itself is out of reach.
    """
    results = None if out is None else inode(out)
    found: list[Path] = []
    over = _journal_over(absolute(folder).parent)
    made = set() if over is None else set(Journal(over, "").made())

    def note(error: OSError) -> None:
        place = Path(error.filename)
        if place == folder:
            raise PhotoError(f"{folder}: cannot be read: {error.strerror}") from error
        found.append(place)

    for name, folders, files in os.walk(folder, onerror=note):
        here = Path(name)
        if JOURNAL in files:
            made.update(Journal(absolute(here), "").made())
        links = [inner for inner in folders if (here / inner).is_symlink()]
        folders[:] = [
            inner
            for inner in folders
            if not (inner.startswith(".") or (results and inode(here / inner) == results))
        ]
        found += [here / inner for inner in (*files, *links) if not inner.startswith(".")]
    return sorted(path for path in found if absolute(path) not in made and not _is_odd(path))


def _is_odd(path: Path) -> bool:
    """Return whether something is neither file nor folder: reading it might wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:  # gone or out of reach: its turn will tell why
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

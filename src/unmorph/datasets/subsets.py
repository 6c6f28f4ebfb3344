"""Fixed subsets of a set of faces, for methods that are too slow for all of it.

A subset is drawn once and for all: the photos whose names have the smallest SHA-256. So it is as
good as random, the same for every method, library version and file format, and smaller subsets lie
within larger ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, DataError, first_few

#: Faces in each subset, by name.
SUBSETS = {"paper-200": 200}

#: The lists of `configs/sets/`, each of a whole set, and how many photos they name.
_WHOLE = {"celeba-test": 1999, "celeba-val": 1000, "lfw": 1999, "ffhq": 1000}


def narrowed(dataset: FaceDataset, subsets: Sequence[str]) -> tuple[FaceDataset, str | None]:
    """Return a subset of a subset ..., and what a record calls it; None where it is a whole set.

    Args:
        dataset: the whole set.
        subsets: as `named_subset` takes them, each of what the one before leaves.

    Raises:
        ConfigError, DataError: as `named_subset` does.
    """
    called: list[str | None] = []
    for place, name in enumerate(subsets):
        try:
            dataset = named_subset(dataset, name)
        except DataError as error:
            before = f" (in what --subset {subsets[place - 1]} leaves of it)" if place else ""
            raise DataError(f"{error}{before}") from error
        called.append(subset_name(name, len(dataset)))
    return dataset, " of ".join(filter(None, reversed(called))) or None


def named_subset(dataset: FaceDataset, name: str) -> FaceDataset:
    """Return a subset, its faces in the order of the set.

    Args:
        dataset: the whole set.
        name: one of `SUBSETS`, or a text file that names a photo a line, without folder and ending.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        DataError: the set has too few faces, or lacks some of the file's; the message names them.
    """
    if name.endswith(".txt"):
        return _listed(dataset, Path(name))
    if name not in SUBSETS:
        choices = ", ".join(SUBSETS)
        raise ConfigError(
            f"unknown subset {name!r}; choose one of {choices}, or a .txt file of photos' names"
        )
    return draw(dataset, SUBSETS[name])


def subset_name(name: str, count: int) -> str | None:
    """Return what a record calls a subset of so many faces; None where it stands for a set."""
    called = Path(name).stem if name.endswith(".txt") else name
    return None if _WHOLE.get(called) == count else called


def _listed(dataset: FaceDataset, path: Path) -> FaceDataset:
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read it ({error}); give a photo's name a line") from error
    places = {PurePosixPath(name).stem: index for index, name in enumerate(dataset.names)}
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if absent := [name for name in names if name not in places]:
        raise DataError(
            f"{dataset.source.path}: lacks {len(absent)} of the {len(names)} photos that {path} "
            f"names: {first_few(absent)}"
        )
    return dataset.subset(sorted(places[name] for name in names))


def draw(dataset: FaceDataset, count: int) -> FaceDataset:
    """Return ``count`` faces of a set, always the same ones.

    Raises:
        DataError: the set has fewer.
    """
    if count > len(dataset):
        raise DataError(
            f"{dataset.source.path}: {len(dataset)} faces where {count} are wanted; ask for fewer, "
            "or for the whole set"
        )

    def place(index: int) -> str:
        # The bare name: the same photo may lie in a folder or a zip, as JPEG or PNG.
        stem = PurePosixPath(dataset.names[index]).stem
        return hashlib.sha256(stem.encode()).hexdigest()

    return dataset.subset(sorted(sorted(range(len(dataset)), key=place)[:count]))

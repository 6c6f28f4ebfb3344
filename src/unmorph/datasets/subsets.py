"""Fixed subsets of a set of faces, for methods that are too slow for all of it.

A subset is drawn once and for all: the photos whose names have the smallest SHA-256. So it is as
good as random, the same for every method, library version and file format, and smaller subsets lie
within larger ones.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, DataError

#: Faces in each subset, by name.
SUBSETS = {"paper-100": 100, "paper-200": 200}


def named_subset(dataset: FaceDataset, name: str) -> FaceDataset:
    """Return a subset by name, its faces in the order of the set.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        DataError: the set has too few faces.
    """
    if name not in SUBSETS:
        raise ConfigError(f"unknown subset {name!r}; choose one of {', '.join(SUBSETS)}")
    return draw(dataset, SUBSETS[name])


def draw(dataset: FaceDataset, count: int) -> FaceDataset:
    """Return ``count`` faces of a set, always the same ones.

    Raises:
        DataError: the set has fewer.
    """
    if count > len(dataset):
        raise DataError(
            f"{dataset.source.path}: {len(dataset)} faces where the subset takes {count}; "
            "use the whole set"
        )

    def place(index: int) -> str:
        # The bare name: the same photo may lie in a folder or a zip, as JPEG or PNG.
        stem = PurePosixPath(dataset.names[index]).stem
        return hashlib.sha256(stem.encode()).hexdigest()

    return dataset.subset(sorted(sorted(range(len(dataset)), key=place)[:count]))

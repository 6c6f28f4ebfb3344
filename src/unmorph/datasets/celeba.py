"""CelebA in its official layout: aligned photos, attribute list, partition list."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from unmorph.attributes import ATTRIBUTES
from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.errors import ConfigError, DataError

PARTITIONS = {"train": "0", "val": "1", "test": "2"}

#: The paper cuts the centre 178x178 out of the aligned 178x218 photo (section 4.1).
CROP = 178

#: Where the photos may lie inside the data folder; the first that holds the split is used.
SOURCES = ("img_align_celeba", "img_align_celeba.zip", "train-128", "train-128.zip")


def _rows(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot read it ({error}); CelebA's official list files belong beside its "
            "photos"
        ) from error


def _partition(path: Path) -> dict[str, str]:
    """Return the partition of each photo, by its name without ending."""
    rows = _rows(path)
    if wrong := [row for row in rows if len(row) != 2]:
        raise DataError(f"{path}: expected a photo and its partition a row, got {wrong[0]}")
    return {Path(name).stem: partition for name, partition in rows}


def _labels(path: Path) -> dict[str, list[bool]]:
    """Return `ATTRIBUTES` of each photo, by its name without ending."""
    lines = _rows(path)  # the count, the names, then a row a photo
    header, rows = lines[1] if len(lines) > 1 else [], lines[2:]
    if missing := [name for name in ATTRIBUTES if name not in header]:
        raise DataError(f"{path}: no column {', '.join(missing)} in its second line")
    if wrong := [row for row in rows if len(row) != 1 + len(header)]:
        raise DataError(f"{path}: expected a photo and {len(header)} labels a row, got {wrong[0]}")
    columns = [1 + header.index(name) for name in ATTRIBUTES]
    return {Path(row[0]).stem: [row[column] == "1" for column in columns] for row in rows}


def load_celeba(folder: str | os.PathLike[str], split: str) -> FaceDataset:
    """Open one partition of CelebA.

    Args:
        folder: holds ``list_attr_celeba.txt``, ``list_eval_partition.txt`` and the photos as
            ``img_align_celeba`` (folder or zip) or ``train-128`` (already cropped faces).
        split: ``train``, ``val`` or ``test``.

    Raises:
        ConfigError: there is no such split; the message lists the choices.
        DataError: a file is missing or malformed, or no photo of the split is there.
    """
    folder = Path(folder)
    if split not in PARTITIONS:
        raise ConfigError(f"unknown CelebA split {split!r}; choose one of {', '.join(PARTITIONS)}")
    lists = (folder / "list_eval_partition.txt", folder / "list_attr_celeba.txt")
    partition = _partition(lists[0])
    labels = _labels(lists[1])
    listed = [stem for stem, part in partition.items() if part == PARTITIONS[split]]

    candidates = [folder / name for name in SOURCES]
    for path in candidates:
        if not path.exists():
            continue
        source = PhotoSource(path)
        names = [
            name
            for name in source.names
            if partition.get(Path(name).stem) == PARTITIONS[split] and Path(name).stem in labels
        ]
        if names:
            table = np.array([labels[Path(name).stem] for name in names], dtype=np.float32)
            there = {Path(name).stem for name in source.names}
            missing = [stem for stem in listed if stem not in there]
            return FaceDataset("celeba", source, names, CROP, table, lists, len(listed), missing)
    looked = ", ".join(str(path) for path in candidates)
    raise DataError(f"{folder}: no photo of CelebA's {split} partition; looked in {looked}")

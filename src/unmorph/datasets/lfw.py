"""Labeled Faces in the Wild, deep-funneled: one folder a person, photos of 250x250."""

from __future__ import annotations

import os
from pathlib import Path

from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.datasets.folder import find_source

#: The paper cuts the centre 200x200 out of the 250x250 photo (section 4.1).
CROP = 200

#: Where the photos may lie inside the data folder.
SOURCES = ("lfw-deepfunneled", "lfw-deepfunneled.zip")


def load_lfw(path: str | os.PathLike[str]) -> FaceDataset:
    """Open LFW; it has no attribute labels.

    Args:
        path: the photos' folder or zip, or the folder that holds ``lfw-deepfunneled`` or its zip.

    Raises:
        DataError: there is no photo.
    """
    source = PhotoSource(find_source(Path(path), SOURCES))
    return FaceDataset("lfw", source, source.names, CROP)

"""Flickr-Faces-HQ: aligned square photos of any size."""

from __future__ import annotations

import os
from pathlib import Path

from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.datasets.folder import WHOLE, find_source

#: Where the photos may lie inside the data folder.
SOURCES = ("ffhq-256", "ffhq-256.zip", "thumbnails128x128", "images1024x1024")


def load_ffhq(path: str | os.PathLike[str]) -> FaceDataset:
    """Open FFHQ, uncropped as in the paper; it has no attribute labels.

    Args:
        path: the photos' folder or zip, or the folder that holds one of `SOURCES`.

    Raises:
        DataError: there is no photo.
    """
    source = PhotoSource(find_source(Path(path), SOURCES))
    return FaceDataset("ffhq", source, source.names, WHOLE)

"""Any folder or zip of face photos."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from unmorph.datasets.base import FaceDataset, PhotoSource

#: As a crop: the largest centred square.
WHOLE = sys.maxsize


def find_source(path: Path, candidates: Sequence[str]) -> Path:
    """Return the first of ``candidates`` that lies in the folder ``path``, else ``path`` itself."""
    return next((path / name for name in candidates if (path / name).exists()), path)


def load_folder(path: str | os.PathLike[str]) -> FaceDataset:
    """Open a folder or zip of face photos; each is cut to its largest centred square.

    Raises:
        DataError: there is no such folder or zip, or it holds no photo.
    """
    source = PhotoSource(path)
    return FaceDataset("folder", source, source.names, WHOLE)

"""Sets of faces by the name that the command line uses."""

from __future__ import annotations

import os

from unmorph.datasets.base import FaceDataset
from unmorph.datasets.celeba import load_celeba
from unmorph.datasets.ffhq import load_ffhq
from unmorph.datasets.folder import load_folder
from unmorph.datasets.lfw import load_lfw
from unmorph.errors import ConfigError

_WITHOUT_SPLITS = {"lfw": load_lfw, "ffhq": load_ffhq, "folder": load_folder}

#: Names that `load_named` takes.
NAMES = ("celeba", *_WITHOUT_SPLITS)


def load_named(name: str, path: str | os.PathLike[str], split: str = "test") -> FaceDataset:
    """Open a set of faces.

    Args:
        name: one of `NAMES`.
        path: where it lies, as the set's own loader takes it.
        split: CelebA's partition; the other sets have none and ignore it.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        DataError: the set is missing or malformed.
    """
    if name == "celeba":
        return load_celeba(path, split)
    if name not in _WITHOUT_SPLITS:
        raise ConfigError(f"unknown dataset {name!r}; choose one of {', '.join(NAMES)}")
    return _WITHOUT_SPLITS[name](path)

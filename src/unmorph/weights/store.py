"""Find a network's weights: in a mirror folder, in the cache, or at their official source.

A file is only ever used when its SHA-256 is the catalog's.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from unmorph.errors import WeightsError
from unmorph.files import write_whole
from unmorph.weights.catalog import WeightsEntry, entry
from unmorph.weights.convert import UNREADABLE

if TYPE_CHECKING:
    from torch import Tensor

#: Environment variable that names a folder holding the catalog's files.
MIRROR_VARIABLE = "UNMORPH_WEIGHTS_FROM"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        WeightsError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def identity(path: Path) -> dict[str, str]:
    """Return what a record says of a file of weights: ``file``, its name, and ``sha256``."""
    return {"file": path.name, "sha256": sha256(path)}


def cache_folder() -> Path:
    """Return the folder that keeps fetched weights."""
    import pooch

    return Path(pooch.os_cache("unmorph"))


def mirror_folder(mirror: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the mirror: the given folder, else that of ``UNMORPH_WEIGHTS_FROM``, else None.

    Raises:
        WeightsError: the folder does not exist.
    """
    chosen = mirror or os.environ.get(MIRROR_VARIABLE)
    if not chosen:
        return None
    folder = Path(chosen)
    if not folder.is_dir():
        raise WeightsError(
            f"{folder}: no such folder; give --from (or {MIRROR_VARIABLE}) a folder of weights"
        )
    return folder


def locate(name: str, mirror: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a network's verified weights.

    Looks in the mirror folder, then in the cache, then downloads from the official source into the
    cache. A mirror may hold the file itself or the publisher's download under its own name.

    Args:
        name: an entry of `unmorph.weights.catalog`.
        mirror: a folder of weights; without it the one that ``UNMORPH_WEIGHTS_FROM`` names.

    Raises:
        ConfigError: the name is unknown.
        WeightsError: a file with another hash was found, or no source has the file.
    """
    item = entry(name)
    folder = mirror_folder(mirror)
    cached = cache_folder() / item.filename
    if folder and (folder / item.filename).is_file():
        return verified(item, folder / item.filename)
    if cached.is_file():
        return verified(item, cached)
    if folder and item.unpack and item.download_name and (folder / item.download_name).is_file():
        return _keep(item, folder / item.download_name, cached)
    return _download(item, cached)


def verified(item: WeightsEntry, path: Path) -> Path:
    """Return ``path`` if it holds the entry's bytes.

    Raises:
        WeightsError: its hash is another one.
    """
    found = sha256(path)
    if found != item.sha256:
        raise WeightsError(
            f"{path}: not the weights {item.name!r}: expected sha256 {item.sha256}, found {found}; "
            "remove the file and fetch it again"
        )
    return path


def load_tensors(name: str, mirror: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """Locate a network and return its tensors; no code in the file is ever run.

    Raises:
        ConfigError: the name is unknown.
        WeightsError: as `locate`.
    """
    from unmorph.weights.tensors import read_tensors

    return read_tensors(locate(name, mirror))


def _download(item: WeightsEntry, target: Path) -> Path:
    """Fetch the official file, unpack it and keep it in the cache."""
    import pooch

    if item.url is None:
        raise WeightsError(
            f"{item.filename}: the weights {item.name!r} have no official download; give --from "
            f"(or {MIRROR_VARIABLE}) a folder that holds the file"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download = Path(folder) / str(item.download_name)
        try:
            pooch.HTTPDownloader(timeout=60)(item.url, str(download), None)
        except OSError as error:
            served = dict.fromkeys((item.filename, download.name))
            raise WeightsError(
                f"{item.filename}: cannot download {item.url} ({type(error).__name__}); without a "
                f"network, give --from (or {MIRROR_VARIABLE}) a folder that holds "
                f"{' or '.join(served)}"
            ) from error
        return _keep(item, download, target)


def _keep(item: WeightsEntry, download: Path, target: Path) -> Path:
    """Unpack the official file into ``target``, whole and verified or not at all."""
    try:
        data = item.unpack(download) if item.unpack else download.read_bytes()
    except UNREADABLE as error:
        raise WeightsError(
            f"{download.name}: not the official download of {item.name!r} ({error}); fetch it again"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != item.sha256:
        raise WeightsError(
            f"{download.name}: gives {item.filename} with another hash: expected sha256 "
            f"{item.sha256}, found {found}; the publisher's file has changed, so give --from "
            f"(or {MIRROR_VARIABLE}) a folder that holds the original"
        )
    write_whole(target, data, WeightsError)
    return target

"""Find a network's weights: in a mirror folder, in the cache, or at their official source.

A file is only ever used when its SHA-256 is the catalog's.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unmorph.errors import WeightsError
from unmorph.files import sha256_of, write_whole
from unmorph.weights.catalog import WeightsEntry, entry
from unmorph.weights.convert import UNREADABLE, refuse_without

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor

#: Environment variable that names a folder holding the catalog's files.
MIRROR_VARIABLE = "UNMORPH_WEIGHTS_FROM"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error


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
        MissingExtraError: the publisher's download needs a module that is not installed.
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
    refuse_without(str(item.download_name))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download = Path(folder) / str(item.download_name)
        try:
            with _bar(item.filename) as bar:
                pooch.HTTPDownloader(timeout=60, progressbar=bar)(item.url, str(download), None)
        except OSError as error:
            served = dict.fromkeys((item.filename, download.name))
            raise WeightsError(
                f"{item.filename}: cannot download {item.url} ({type(error).__name__}); without a "
                f"network, give --from (or {MIRROR_VARIABLE}) a folder that holds "
                f"{' or '.join(served)}"
            ) from error
        return _keep(item, download, target)


class _Bar:
    """What pooch tells of a download, passed on to a task of Rich's."""

    def __init__(self, shown: Progress, name: str) -> None:
        self._shown, self._task = shown, shown.add_task(name, total=None)

    @property
    def total(self) -> float:
        """How many bytes are to come."""
        return self._shown.tasks[0].total or 0

    @total.setter
    def total(self, count: int) -> None:
        self._shown.update(self._task, total=count or None)

    def update(self, count: int) -> None:
        """Count some more bytes."""
        self._shown.advance(self._task, count)

    def reset(self) -> None:
        """Count from the beginning: pooch does at the end, and counts them all at once."""
        self._shown.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the bar as it is."""


@contextmanager
def _bar(name: str) -> Iterator[_Bar | bool]:
    """Yield what shows a download's progress on a terminal, else False."""
    if not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as shown:
        yield _Bar(shown, name)


def _keep(item: WeightsEntry, download: Path, target: Path) -> Path:
    """Unpack the official file into ``target``, whole and verified or not at all."""
    refuse_without(download.name)
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

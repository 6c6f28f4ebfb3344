"""Files that are written whole or not at all, and what tells one from another."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from unmorph.errors import UnmorphError

#: How the hidden files end that lie beside a file while it is written.
PARTIAL = ".unmorph-partial"


def inode(path: Path) -> tuple[int, int] | None:
    """Return what tells a file or folder whatever its name; None where there is none in reach,
    or where its disk does not say.

    Names do not tell: some disks take ``A.jpg`` and ``a.jpg`` for one file.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def whole(path: Path, error: type[UnmorphError], *, replace: bool = True) -> Iterator[Path]:
    """Yield another path to write to; once that is done, the file there becomes ``path``.

    Whatever goes wrong or is interrupted, ``path`` is as it was, and nothing is left beside it.
    The folder is made where it is missing.

    Args:
        path: the file.
        error: what is raised, with the file's name, where it cannot be written.
        replace: whether a file that is there is replaced.

    Raises:
        FileExistsError: it is there, and is not to be replaced.
    """
    # Without the file's own name: what is as long as a name may be leaves no room for more.
    partial = path.with_name(f".{uuid.uuid4().hex}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        placed = _placed(partial, path, replace)
    except OSError as why:
        raise error(f"{path}: cannot be written: {why.strerror or why}") from why
    else:
        if not placed:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    finally:
        with contextlib.suppress(OSError):  # what went wrong above is what matters
            partial.unlink(missing_ok=True)


def write_whole(
    path: Path, data: bytes, error: type[UnmorphError], *, replace: bool = True
) -> None:
    """Write a file as `whole` does, raising ``error`` where it cannot be written.

    Raises:
        FileExistsError: it is there, and is not to be replaced.
    """
    with whole(path, error, replace=replace) as partial:
        partial.write_bytes(data)


def _placed(partial: Path, path: Path, replace: bool) -> bool:
    """Give a file its name; return False where that is taken by what is not to be replaced."""
    if not replace:
        try:
            os.link(partial, path)  # of two that do this at once, one succeeds
            return True
        except FileExistsError:
            return False
        except OSError:  # links are missing, as on FAT: take the name first
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                return False
    os.replace(partial, path)
    return True

"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from unmorph.errors import UnmorphError

#: How the hidden files end that lie beside a file while it is written.
PARTIAL = ".unmorph-partial"


@contextlib.contextmanager
def whole(path: Path, error: type[UnmorphError]) -> Iterator[Path]:
    """Yield another path to write to; once that is done, the file there becomes ``path``.

    Whatever goes wrong or is interrupted, ``path`` is as it was, and nothing is left beside it.
    The folder is made where it is missing; a file that is there is replaced.

    Args:
        path: the file.
        error: what is raised, with the file's name, where it cannot be written.
    """
    # Without the file's own name: what is as long as a name may be leaves no room for more.
    partial = path.with_name(f".{uuid.uuid4().hex}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as why:
        raise error(f"{path}: cannot be written: {why.strerror or why}") from why
    finally:
        with contextlib.suppress(OSError):  # what went wrong above is what matters
            partial.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, error: type[UnmorphError]) -> None:
    """Write a file as `whole` does, raising ``error`` where it cannot be written."""
    with whole(path, error) as partial:
        partial.write_bytes(data)

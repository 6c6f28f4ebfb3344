"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

#: How the hidden files end that lie beside a file while it is written.
PARTIAL = ".unmorph-partial"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield another path to write to; once that is done, the file there becomes ``path``.

    Whatever goes wrong or is interrupted, ``path`` is as it was, and nothing is left beside it.
    The folder is made where it is missing; a file that is there is replaced.

    Raises:
        OSError: the folder cannot be made, or the file not be moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):  # what went wrong above is what matters
            partial.unlink(missing_ok=True)

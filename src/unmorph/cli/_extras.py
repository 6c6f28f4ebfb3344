"""Answers a missing optional dependency with the command that installs it."""

from __future__ import annotations

import importlib.util

from unmorph.errors import MissingExtraError

#: For each extra, one module that only this extra brings.
_MARKERS = {"train": "torch"}


def require(extra: str = "train") -> None:
    """Make sure that ``extra`` is installed; call it first in a command that needs it.

    Raises:
        MissingExtraError: it is not; the message holds the pip command (the program exits 2).
    """
    module = _MARKERS[extra]
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f'This command needs {module}: pip install "unmorph[{extra}]"')

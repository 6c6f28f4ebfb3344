"""Answers a missing optional dependency with the command that installs it."""

from __future__ import annotations

import importlib.util

from unmorph.errors import MissingExtraError


def require_torch() -> None:
    """Make sure that torch is installed; call it first in a command that needs it.

    Raises:
        MissingExtraError: it is not; the message holds the pip command (the program exits 2).
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError('This command needs torch: pip install "unmorph[train]"')

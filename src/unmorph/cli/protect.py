"""``unmorph protect``."""

from __future__ import annotations


def command() -> None:
    """Protect the faces in photos."""

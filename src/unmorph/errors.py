"""Everything that can go wrong, as one small tree; each message says what to do about it."""

from __future__ import annotations

from collections.abc import Sequence


class UnmorphError(Exception):
    """The root of all errors that this package raises on purpose."""

    #: What the command line exits with when this error ends it.
    exit_code = 1


class PhotoError(UnmorphError):
    """A photo cannot be read, is too large, or cannot be written."""


class WeightsError(UnmorphError):
    """A network's file is absent, damaged, or not the one that was asked for."""


class DataError(UnmorphError):
    """A dataset is absent or not laid out as its publisher does."""


class ConfigError(UnmorphError):
    """A setting is missing, unknown, or out of range."""

    exit_code = 2


class MissingExtraError(UnmorphError):
    """A part of the package needs an optional dependency that is not installed."""

    exit_code = 2


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Return the names that a message lists: the first of them, and that there are more."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")

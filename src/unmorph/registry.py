"""Things that are found by name: deepfakes, defenses."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TypeVar

from unmorph.errors import ConfigError

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """A dictionary whose names are taken once and whose unknown names list the choices.

    Args:
        kind: what an entry is called in messages.

    Raises:
        ConfigError: on looking up an unknown name; the message lists the choices.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that enters what it decorates.

        Raises:
            ConfigError: the name is taken.
        """

        def add(entry: Entry) -> Entry:
            if name in self:
                raise ConfigError(f"a {self.kind} named {name!r} is registered already")
            self[name] = entry
            return entry

        return add

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        return tuple(sorted(self))

    def __missing__(self, name: str) -> Entry:
        raise ConfigError(f"unknown {self.kind} {name!r}; choose one of {', '.join(self.names())}")


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that each enters what it registers.

    Args:
        package: its ``__name__``.
        path: its ``__path__``.
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")

"""A plan: the commands of a whole experiment, in their order, as a TOML file.

Each ``[[steps]]`` is one command of the command line::

    [[steps]]
    run = "evaluate"
    output = "{results}/channels/{defense}-{channel}.json"
    dataset = "celeba"
    limit = 24
    [steps.each]
    defense = ["shipped", "pgd"]
    channel = ["none", "jpeg-75"]

``run`` names the command and ``arguments`` lists what it takes without a name; every other key is
one of its options, ``_`` for ``-``. A list repeats an option, and ``each`` makes a step of every
combination of its values, which the others may name in braces; a key there that is no option of the
command is only such a name. In the file or folder that a step makes, ``>`` between two channels
becomes ``+``, since not all systems allow it there. ``true`` gives a switch, ``false`` leaves it
out. ``dataset`` names a set of faces (by default CelebA, where the command takes one) whose folder
is only known when the plan is carried out; a step may name its ``data`` itself instead.

A table ``[sets]`` may name a list of photos for a set of faces, or for a partition of CelebA. For
commands that take a ``subset`` no others count then, however many a folder has::

    [sets]
    celeba-test = "{plan}/celeba-test.txt"
    lfw = "{plan}/lfw.txt"
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unmorph.datasets.celeba import PARTITIONS
from unmorph.datasets.named import NAMES
from unmorph.errors import ConfigError
from unmorph.toml import read_toml

#: Keys of a step that are no option of its command.
_NO_OPTIONS = ("run", "dataset", "arguments")

#: What ``[sets]`` may have lists for.
_LISTED = (*(f"celeba-{split}" for split in PARTITIONS), *NAMES[1:])

#: Options that name what a step makes.
_MADE = ("out", "output")


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        run: its name, such as ``evaluate`` or ``train defense``.
        dataset: whose folder it takes as ``--data``, if it takes one; empty where its options
            say that.
        arguments: what it takes without a name.
        options: by their names on the command line, without the dashes; None stands for a switch.
        varied: which of them come from ``each``.
        number: the place of its table in the plan, from 1.
        sets: the plan's lists of photos, by set or by set and partition, as in ``celeba-val``.
    """

    run: str
    dataset: str
    arguments: tuple[str, ...]
    options: dict[str, tuple[str | None, ...]]
    varied: frozenset[str]
    number: int
    sets: Mapping[str, str] = field(default_factory=dict)

    def words(self, known: Collection[str], first: Sequence[str] = ()) -> list[str]:
        """Return what follows ``unmorph`` on the command line, but for the data.

        Args:
            known: the options that the command has.
            first: what stands before the options.
        """
        words = [*self.run.split(), *self.arguments, *first]
        for name, values in self.options.items():
            for value in values if name in known else ():
                words += [f"--{name}"] if value is None else [f"--{name}", value]
        return words

    @property
    def outputs(self) -> list[str]:
        """The files and folders that it makes."""
        return [path for name in _MADE for path in self.options.get(name, ()) if path]


def read_plan(path: Path, folders: Mapping[str, Path]) -> list[Step]:
    """Read a plan.

    Args:
        path: the TOML file.
        folders: what names in braces stand for, beside those of ``each``.

    Raises:
        ConfigError: the file cannot be read or is no plan, the message names the step; or two
            commands would make one file.
    """
    content = read_toml(path)
    tables = content.pop("steps", None)
    lists = content.pop("sets", {})
    if content or not isinstance(tables, list) or not tables or not isinstance(lists, dict):
        raise ConfigError(f"{path}: a plan is a list of [[steps]], may have [sets], and no more")
    names = {name: str(folder) for name, folder in folders.items()}
    try:
        if unknown := [name for name in lists if name not in _LISTED]:
            choices = ", ".join(_LISTED)
            raise ConfigError(f"sets: no set {unknown[0]!r}; choose from {choices}")
        sets = {name: _name(f"sets: {name}", value, names) for name, value in lists.items()}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    steps: list[Step] = []
    for number, table in enumerate(tables, 1):
        try:
            steps += (replace(step, sets=sets) for step in _expanded(table, names, number))
        except ConfigError as error:
            raise ConfigError(f"{path}: step {number}: {error}") from error
    made = Counter(output for step in steps for output in step.outputs)
    if twice := [output for output, count in made.items() if count > 1]:
        raise ConfigError(f"{path}: {twice[0]} is what {made[twice[0]]} commands would make")
    return steps


def _expanded(table: object, names: Mapping[str, str], number: int) -> list[Step]:
    if not isinstance(table, dict):
        raise ConfigError(f"expected a table, got {table!r}")
    each = table.get("each", {})
    if not isinstance(each, dict) or not all(
        isinstance(values, list) and values for values in each.values()
    ):
        raise ConfigError("each: expected lists of values")
    if "run" not in table:
        raise ConfigError("run is missing: the name of a command")
    plain = {key: value for key, value in table.items() if key != "each"}
    return [
        _step({**plain, **dict(zip(each, chosen, strict=True))}, names, each, number)
        for chosen in itertools.product(*each.values())
    ]


def _step(
    table: dict[str, Any], names: Mapping[str, str], each: Mapping[str, Any], number: int
) -> Step:
    known = {**names, **{key: str(value) for key, value in table.items()}}
    run = _name("run", table["run"], known)
    dataset = _name("dataset", table.get("dataset", "" if "data" in table else "celeba"), known)
    if not run.strip():
        raise ConfigError("run is empty: expected the name of a command")
    in_paths = {key: text.replace(">", "+") for key, text in known.items()}
    values = {
        key: _texts(key, value, in_paths if key in _MADE else known) for key, value in table.items()
    }
    arguments = tuple(text for text in values.get("arguments", ()) if text is not None)
    options = {_option(key): value for key, value in values.items() if key not in _NO_OPTIONS}
    return Step(run, dataset, arguments, options, frozenset(map(_option, each)), number)


def _option(key: str) -> str:
    return key.replace("_", "-")


def _name(key: str, value: object, known: Mapping[str, str]) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{key} = {value!r}: expected one name")
    return _text(key, value, known)


def _texts(key: str, value: object, known: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return a key's values as the command line takes them; that of a switch is None."""
    if isinstance(value, bool):
        return (None,) if value else ()
    if isinstance(value, list):
        return tuple(text for part in value for text in _texts(key, part, known))
    if not isinstance(value, (str, int, float)):
        raise ConfigError(f"{key}: expected text, a number, or a list of them")
    return (_text(key, value, known),)


def _text(key: str, value: str | float, known: Mapping[str, str]) -> str:
    try:
        return str(value).format_map(known)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        choices = ", ".join(known)
        raise ConfigError(f"{key} = {value!r}: names in braces are {choices}") from error

"""One JSON file a run: everything that a table or a figure needs, and how it came about.

There are three kinds, named by ``kind``: ``evaluation`` (`Record`), ``timing`` (`TimingRecord`) and
``tuning`` (`unmorph.evaluation.tuning`, which nothing reads back).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from unmorph.errors import DataError
from unmorph.evaluation.summary import Summary
from unmorph.files import write_whole

#: Version of the file's layout.
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Figure:
    """One figure over all faces and edits, and over the faces for each edit alone."""

    overall: Summary
    edits: dict[str, Summary]


@dataclass(frozen=True)
class Record:
    """What one run found.

    Attributes:
        created: when it ended, ISO 8601 in UTC.
        dataset: name, split, number of faces, SHA-256 of its files and of the list of photos.
        deepfake: name, edits, file and SHA-256 of its weights, and where they come from.
        defense: name, and epsilon and SHA-256 of its weights where it has them.
        judge: the attribute judge's name and SHA-256, or None.
        settings: the options of the run, the seed among them.
        machine: device, threads, processor, operating system, and whether torch compiled the
            deepfake.
        versions: of Python and of the packages that computed the figures.
        commit: of the working tree that ran, ``-dirty`` where it was changed; None outside one.
        seconds: wall time of the run; a resumed run counts all its parts.
        figures: comparison -> metric -> figure. The comparisons are named in
            `unmorph.evaluation.run`.
    """

    created: str
    dataset: dict[str, Any]
    deepfake: dict[str, Any]
    defense: dict[str, Any]
    judge: dict[str, Any] | None
    settings: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    seconds: float
    figures: dict[str, dict[str, Figure]]

    def mean(self, comparison: str, metric: str) -> float | None:
        """Return one overall mean; None where the run did not measure it."""
        figure = self.figures.get(comparison, {}).get(metric)
        return figure.overall.mean if figure else None


@dataclass(frozen=True)
class MethodTime:
    """How long one defense takes.

    Attributes:
        defense: as in `Record`.
        seconds: to protect one face, over the faces that were timed.
    """

    defense: dict[str, Any]
    seconds: Summary


@dataclass(frozen=True)
class TimingRecord:
    """What one timing run found: all methods on one machine, one after the other.

    Attributes:
        methods: in the order of the run. The others are as in `Record`.
    """

    created: str
    dataset: dict[str, Any]
    deepfake: dict[str, Any]
    settings: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    methods: list[MethodTime]


def method_name(defense: Mapping[str, Any]) -> str:
    """Return what a table calls a defense: its name, with the options that were changed."""
    changed = ", ".join(f"{key}={value}" for key, value in defense.get("changed", {}).items())
    return f"{defense['name']} ({changed})" if changed else str(defense["name"])


def key_of(entries: Mapping[str, Any]) -> str:
    """Return what a record's entries are grouped by: the same text for equal entries."""
    return json.dumps(entries, sort_keys=True)


def write_record(record: Record | TimingRecord, path: str | os.PathLike[str]) -> None:
    """Write a record, whole or not at all."""
    write_json("timing" if isinstance(record, TimingRecord) else "evaluation", asdict(record), path)


def write_json(kind: str, content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a record's content under its kind, whole or not at all."""
    head = {"schema_version": SCHEMA_VERSION, "kind": kind}
    text = json.dumps({**head, **content}, indent=1, allow_nan=False)
    write_whole(Path(path), (text + "\n").encode(), DataError)


def is_current(path: str | os.PathLike[str], kind: str, intended: Mapping[str, Any]) -> bool:
    """Return whether a file is a record of ``kind`` that has everything that is ``intended``.

    Args:
        intended: entries of the record, tables within tables; what else those of the record hold
            is not looked at.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return False
    head = {"schema_version": SCHEMA_VERSION, "kind": kind}
    return _holds(content, json.loads(json.dumps({**head, **intended})))


def _holds(found: object, intended: object) -> bool:
    if isinstance(found, dict) and isinstance(intended, dict):
        return all(key in found and _holds(found[key], value) for key, value in intended.items())
    if isinstance(found, list) and isinstance(intended, list):
        return len(found) == len(intended) and all(map(_holds, found, intended))
    return found == intended


def read_record(path: str | os.PathLike[str]) -> Record | TimingRecord:
    """Read a record of an evaluation or a timing run.

    Raises:
        DataError: the file cannot be read, is no such record, or is of another schema version.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a record of `unmorph evaluate`: {error}; give the JSON it wrote"
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise DataError(f"{path}: not a record of `unmorph evaluate`; give the JSON file it wrote")
    version = content.pop("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: a record of schema version {version}, this unmorph reads {SCHEMA_VERSION}; "
            "run `unmorph evaluate` again, or use the unmorph that wrote it"
        )
    kind = content.pop("kind", None)
    if kind not in _READERS:
        raise DataError(f"{path}: a record of kind {kind!r}; expected one of {', '.join(_READERS)}")
    layout, build = _READERS[kind]
    expected = {field.name for field in fields(layout)}
    if wrong := expected.symmetric_difference(content):
        raise DataError(
            f"{path}: a damaged record, {', '.join(sorted(wrong))} missing or unknown; run it again"
        )
    try:
        return build(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: a damaged record, its figures are malformed ({error}); run it again"
        ) from error


def _evaluation(content: dict[str, Any]) -> Record:
    if not isinstance(content["dataset"]["count"], int):
        raise TypeError("the count of faces is no number")
    figures = {
        comparison: {metric: _figure(value) for metric, value in table.items()}
        for comparison, table in content["figures"].items()
    }
    return Record(**{**content, "figures": figures})


def _timing(content: dict[str, Any]) -> TimingRecord:
    methods = [MethodTime(m["defense"], Summary(**m["seconds"])) for m in content["methods"]]
    return TimingRecord(**{**content, "methods": methods})


def _figure(value: dict[str, Any]) -> Figure:
    edits = {edit: Summary(**summary) for edit, summary in value["edits"].items()}
    return Figure(Summary(**value["overall"]), edits)


_READERS: dict[str, tuple[type, Callable[[dict[str, Any]], Record | TimingRecord]]] = {
    "evaluation": (Record, _evaluation),
    "timing": (TimingRecord, _timing),
}

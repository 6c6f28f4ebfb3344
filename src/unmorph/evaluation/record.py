"""One JSON file a run: everything that a table or a figure needs, and how it came about.

There are three kinds, named by ``kind``: ``evaluation`` (`Record`), ``timing`` (`TimingRecord`) and
``tuning`` (`TuningRecord`). These classes are the schema: files are checked against them, down to
every figure, when they are written and when they are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import NotRequired, TypedDict

from unmorph.errors import DataError
from unmorph.evaluation.paper import EPSILON
from unmorph.evaluation.summary import Summary
from unmorph.files import write_whole

#: Version of the file's layout.
SCHEMA_VERSION = 2

_OPEN = ConfigDict(extra="allow")


# The entries below are plain dictionaries to whoever builds a record; these say what must be in
# them. More may be.
@with_config(_OPEN)
class _Faces(TypedDict):
    name: str
    split: NotRequired[str | None]
    subset: NotRequired[str | None]
    count: NonNegativeInt
    files: dict[str, str]
    photos_sha256: str


@with_config(_OPEN)
class _Deepfake(TypedDict):
    name: str
    edits: list[str]


@with_config(_OPEN)
class _Defense(TypedDict):
    name: str
    changed: NotRequired[dict[str, str]]


@with_config(_OPEN)
class _Machine(TypedDict):
    device: str
    name: str
    threads: int
    system: str
    compiled: NotRequired[bool]


@with_config(_OPEN)
class _Judge(TypedDict):
    file: str
    sha256: str


@with_config(_OPEN)
class _Settings(TypedDict):
    labels: str
    seed: int
    metrics: list[str]
    limit: int | None
    channel: str
    precision: str


@with_config(_OPEN)
class _TuningSettings(_Settings):
    grid: dict[str, list[str]]


@with_config(_OPEN)
class _TimingSettings(TypedDict):
    budget: float | None
    size: int
    batch_size: int
    precision: str


@with_config(_OPEN)
class _Trial(TypedDict):
    options: dict[str, str]
    s: float
    s_error: NotRequired[float | None]
    strict_dsr: float
    output_l2: float
    total_l2: float
    input_l2: float
    input_psnr: float | None
    seconds: float


def _checked(entry: type) -> AfterValidator:
    return AfterValidator(partial(TypeAdapter[Any](entry).validate_python, strict=True))


_FacesEntry = Annotated[dict[str, Any], _checked(_Faces)]
_DeepfakeEntry = Annotated[dict[str, Any], _checked(_Deepfake)]
_DefenseEntry = Annotated[dict[str, Any], _checked(_Defense)]
_JudgeEntry = Annotated[dict[str, Any], _checked(_Judge)]
_SettingsEntry = Annotated[dict[str, Any], _checked(_Settings)]
_TuningSettingsEntry = Annotated[dict[str, Any], _checked(_TuningSettings)]
_TimingSettingsEntry = Annotated[dict[str, Any], _checked(_TimingSettings)]
_MachineEntry = Annotated[dict[str, Any], _checked(_Machine)]
_TrialEntry = Annotated[dict[str, Any], _checked(_Trial)]


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
        dataset: name, split, number of faces, SHA-256 of its files and of the list of photos;
            ``lists`` with the SHA-256 of the publisher's lists, ``listed`` with how many photos
            those name, and ``left_out`` with the photos that could not be read, where there are.
        deepfake: name, edits, file and SHA-256 of its weights, and where they come from.
        defense: name, and epsilon and SHA-256 of its weights where it has them.
        judge: the attribute judge's file and SHA-256, or None.
        settings: the options of the run, the seed among them, and the SHA-256 of the weights of
            the metrics that have any.
        machine: device, threads, processor, operating system, and whether torch compiled the
            deepfake.
        versions: of Python and of the packages that computed the figures.
        commit: of the working tree when the run began, ``-dirty`` where it was changed; several
            with ", " between where the run was stopped and went on in another; None outside one.
        seconds: wall time of the run; a resumed run counts all its parts.
        figures: comparison -> metric -> figure. The comparisons are named in
            `unmorph.evaluation.run`.
    """

    created: str
    dataset: _FacesEntry
    deepfake: _DeepfakeEntry
    defense: _DefenseEntry
    judge: _JudgeEntry | None
    settings: _SettingsEntry
    machine: _MachineEntry
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

    defense: _DefenseEntry
    seconds: Summary


@dataclass(frozen=True)
class TimingRecord:
    """What one timing run found: all methods on one machine, one after the other.

    Attributes:
        settings: faces at once, their size and the budget of each method in seconds.
        methods: in the order of the run. The others are as in `Record`.
    """

    created: str
    dataset: _FacesEntry
    deepfake: _DeepfakeEntry
    settings: _TimingSettingsEntry
    machine: _MachineEntry
    versions: dict[str, str]
    commit: str | None
    methods: list[MethodTime]


@dataclass(frozen=True)
class TuningRecord:
    """What a search of a defense's options found.

    Attributes:
        defense: name and epsilon; its options are the trials'.
        settings: those of the trials' runs, and the ``grid`` of values.
        trials: each with its options, its mean figures (`unmorph.evaluation.tuning.FIGURES`), the
            standard error of s and the seconds that it took.
        best: the trial with the highest s. The others are as in `Record`.
    """

    created: str
    dataset: _FacesEntry
    deepfake: _DeepfakeEntry
    defense: _DefenseEntry
    settings: _TuningSettingsEntry
    machine: _MachineEntry
    versions: dict[str, str]
    commit: str | None
    trials: list[_TrialEntry]
    best: _TrialEntry


def method_name(defense: Mapping[str, Any]) -> str:
    """Return what a table calls a defense: its name, with the options that were changed.

    Epsilon is one of them, but where a network knows its own.
    """
    changed = dict(defense.get("changed", {}))
    has_own = "sha256" in defense or "generator" in defense or defense["name"] == "none"
    if not (has_own or keeps_epsilon(defense)):
        changed["epsilon"] = defense["epsilon"]
    told = ", ".join(f"{key}={value}" for key, value in changed.items())
    return f"{defense['name']} ({told})" if told else str(defense["name"])


def keeps_epsilon(defense: Mapping[str, Any]) -> bool:
    """Return whether a defense may change a pixel as far as the paper's, and no further."""
    return bool(defense.get("epsilon", EPSILON) == EPSILON)


def joined(commits: Iterable[str | None]) -> str | None:
    """Return the commits that parts of a run were made with as a record has them, each once."""
    parts = (part for commit in commits if commit for part in commit.split(", "))
    return ", ".join(dict.fromkeys(parts)) or None


def told_by_sha256(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of a network but for what its file is called, if it has one."""
    names = _NAMES if "sha256" in network else set()
    return {key: value for key, value in network.items() if key not in names}


def key_of(entries: Mapping[str, Any]) -> str:
    """Return what a record's entries are grouped by: the same text for equal entries."""
    return json.dumps(entries, sort_keys=True)


AnyRecord = Record | TimingRecord | TuningRecord

_KINDS: dict[str, type[AnyRecord]] = {
    "evaluation": Record,
    "timing": TimingRecord,
    "tuning": TuningRecord,
}


def write_record(record: AnyRecord, path: str | os.PathLike[str]) -> None:
    """Write a record, whole or not at all.

    Raises:
        DataError: the file cannot be written, or the record is malformed.
    """
    kind = next(name for name, layout in _KINDS.items() if isinstance(record, layout))
    content = asdict(record)
    _checked_record(path, kind, content)
    head = {"schema_version": SCHEMA_VERSION, "kind": kind}
    text = json.dumps({**head, **content}, indent=1, allow_nan=False)
    write_whole(Path(path), (text + "\n").encode(), DataError)


def is_current(path: str | os.PathLike[str], kind: str, intended: Mapping[str, Any]) -> bool:
    """Return whether a file is a record of ``kind`` that has everything that is ``intended``.

    Args:
        intended: entries of the record, tables within tables. None stands for what a record may
            lack; what else its tables hold is not looked at, but in those that say who took part.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return False
    head = {"schema_version": SCHEMA_VERSION, "kind": kind}
    return _holds(content, json.loads(json.dumps({**head, **intended})))


#: Tables in which one entry more tells of another run.
_CLOSED = {"deepfake", "defense", "judge", "labeller", "grid"}

#: Entries that older records of this schema lack.
_LATER = {"lists", "listed", "picture_sha256"}

#: What a file of weights is called, which its SHA-256 tells.
_NAMES = {"origin", "file"}


def _holds(found: object, intended: object, closed: bool = False) -> bool:
    if isinstance(found, dict) and isinstance(intended, dict):
        if "sha256" in intended:
            found, intended = told_by_sha256(found), told_by_sha256(intended)
        if closed and any(found[key] is not None for key in found.keys() - intended.keys()):
            return False
        return all(
            _holds(found.get(key), value, closed or key in _CLOSED)
            for key, value in intended.items()
            if key in found or key not in _LATER
        )
    if isinstance(found, list) and isinstance(intended, list):
        return len(found) == len(intended) and all(
            _holds(one, other, closed) for one, other in zip(found, intended, strict=True)
        )
    return found == intended


def read_record(path: str | os.PathLike[str]) -> AnyRecord:
    """Read a record of whatever kind.

    Raises:
        DataError: the file cannot be read, is no record, is malformed, or is of another schema
            version; the message says where.
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
    kind = content.pop("kind", None)
    if version != SCHEMA_VERSION:
        maker = _MAKERS.get(kind, "evaluate")
        raise DataError(
            f"{path}: a record of schema version {version}, this unmorph reads {SCHEMA_VERSION}; "
            f"run `unmorph {maker}` again, or use the unmorph that wrote it"
        )
    if kind not in _KINDS:
        raise DataError(f"{path}: a record of kind {kind!r}; expected one of {', '.join(_KINDS)}")
    return _checked_record(path, kind, content)


#: The commands that write each kind.
_MAKERS = {"evaluation": "evaluate", "timing": "bench-defenses", "tuning": "tune"}

#: What every evaluation measures of every edit, beside what its options ask for.
_MEASURED = {
    "unprotected": ("l2",),
    "output": ("l2",),
    "suppression": ("s", "strict_dsr", "counted"),
    "dsr": ("protected", "unprotected"),
}
_JUDGED = {
    "edit_success": ("untouched", "unprotected", "protected"),
    "judge": ("agreement",),
}


@cache
def _adapter(kind: str) -> TypeAdapter[AnyRecord]:
    return TypeAdapter(_KINDS[kind])


def _checked_record(
    path: str | os.PathLike[str], kind: str, content: Mapping[str, Any]
) -> AnyRecord:
    """Return the record that a JSON object holds.

    Raises:
        DataError: something is missing, unknown or of another type.
    """
    try:
        if wrong := {field.name for field in fields(_KINDS[kind])} ^ set(content):
            raise ValueError(f"{', '.join(sorted(wrong))} missing or unknown")
        record = _adapter(kind).validate_json(json.dumps(content), strict=True)
        if isinstance(record, Record):
            _refuse_gaps(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: a damaged record, {where}: {first['msg']}; run it again"
        ) from error
    except ValueError as error:
        raise DataError(f"{path}: a damaged record, {error}; run it again") from error
    return record


def _refuse_gaps(record: Record) -> None:
    """Refuse a record without a figure that every run measures.

    Raises:
        ValueError: the message names it.
    """
    for comparison, names in (_MEASURED | (_JUDGED if record.judge else {})).items():
        for name in names:
            figure = record.figures.get(comparison, {}).get(name)
            if figure is None or not set(record.deepfake["edits"]) <= set(figure.edits):
                raise ValueError(f"no figures.{comparison}.{name} of every edit")

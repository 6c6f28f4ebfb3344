"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import torch

from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, WeightsError
from unmorph.files import whole
from unmorph.training.config import from_table
from unmorph.weights.convert import UNREADABLE
from unmorph.weights.store import sha256

Config = TypeVar("Config")


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write ``state`` whole, so that a kill leaves the checkpoint before it.

    Raises:
        WeightsError: it cannot be written.
    """
    with whole(Path(path), WeightsError) as partial:
        torch.save(state, partial)


def load_checkpoint(
    path: str | os.PathLike[str], kind: type[Config]
) -> tuple[dict[str, Any], Config]:
    """Read a checkpoint and the configuration in it; only tensors and plain values are accepted.

    Args:
        path: the file.
        kind: the class of the run's configuration.

    Raises:
        WeightsError: the file is missing, damaged, or no checkpoint of such a run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        # Torch's own words are many, and about its options.
        raise WeightsError(
            f"{path}: not a readable checkpoint; give the checkpoint.pt of a training run"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("config"), dict):
        raise WeightsError(f"{path}: not a checkpoint of a training run: it holds no configuration")
    try:
        return state, from_table(state["config"], kind)
    except ConfigError as error:
        raise WeightsError(f"{path}: not a checkpoint for a {kind.__name__}: {error}") from error


def refuse_difference(path: str | os.PathLike[str], saved: object, config: object) -> None:
    """Make sure that a run goes on with the configuration that it began with.

    Args:
        path: the checkpoint, for the message.
        saved, config: the checkpoint's configuration and the present one; only ``report_every``
            may differ.

    Raises:
        ConfigError: they differ; the message names where.
    """
    keys = [f.name for f in dataclasses.fields(config)]  # type: ignore[arg-type]
    keys.remove("report_every")
    if wrong := [key for key in keys if getattr(saved, key) != getattr(config, key)]:
        raise ConfigError(
            f"{path}: was trained with another configuration ({', '.join(wrong)}); give its own, "
            "or start anew in another folder"
        )


def photos_sha256(photos: FaceDataset) -> str:
    """Hash the names of a run's photos, the same in a zip and in a folder."""
    names = "\n".join(PurePosixPath(name).name for name in photos.names)
    return hashlib.sha256(names.encode()).hexdigest()


def refuse_other_photos(
    path: str | os.PathLike[str], state: Mapping[str, Any], photos: FaceDataset
) -> None:
    """Make sure that a run goes on with the photos that it began with.

    Args:
        path: the checkpoint, for the message.
        state: what it holds: `photos_sha256`, unless it is of an older version.
        photos: the present ones.

    Raises:
        ConfigError: they are others.
    """
    present = photos_sha256(photos)
    if state.get("photos", present) != present:
        raise ConfigError(
            f"{path}: was trained on other photos than the {len(photos)} of {photos.source.path}; "
            "give its own, or start anew in another folder"
        )


def refuse_other_networks(
    path: str | os.PathLike[str], state: Mapping[str, Any], networks: Mapping[str, str | None]
) -> None:
    """Make sure that a run goes on beside the frozen networks that it began with.

    Args:
        path: the checkpoint, for the message.
        state: what it holds: ``networks`` among the rest, unless it is of an older version.
        networks: the SHA-256 of each of the present ones.

    Raises:
        ConfigError: they differ, or the checkpoint does not name its own; the message says which.
    """
    saved = state.get("networks", {})
    if unknown := [name for name in networks if name not in saved]:
        raise ConfigError(
            f"{path}: does not say with which {' and '.join(unknown)} it was trained (an older "
            "version wrote it); start anew in another folder"
        )
    if wrong := [name for name, sha256 in networks.items() if saved[name] != sha256]:
        raise ConfigError(
            f"{path}: was trained with another {' and another '.join(wrong)}; give its own, or "
            "start anew in another folder"
        )


def refuse_other_start(path: Path, kind: type[Config], start: Sequence[Path]) -> None:
    """Make sure that a run began with the weights that are named where it goes on.

    Args:
        path: the checkpoint.
        kind: the class of the run's configuration.
        start: the files that are named.

    Raises:
        ConfigError: it began with others, or with none.
        WeightsError: a file is absent, or the checkpoint is none.
    """
    state, _ = load_checkpoint(path, kind)
    starts = state.get("starts")  # older versions kept none
    if starts is not None and starts != [sha256(file) for file in start]:
        named = ", ".join(map(str, start))
        raise ConfigError(
            f"{path}: did not begin with {named}; leave out --start-from, or start anew in another "
            "folder"
        )

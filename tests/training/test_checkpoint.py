from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from unmorph.errors import WeightsError
from unmorph.training.checkpoint import load_checkpoint, save_checkpoint
from unmorph.training.config import ClassifierConfig, DefenseConfig

CONFIG = ClassifierConfig(steps=3)


def state(value: float = 1.0) -> dict[str, Any]:
    return {"config": dataclasses.asdict(CONFIG), "step": 2, "weight": torch.full((3,), value)}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.pt"
    save_checkpoint(path, state())
    loaded, config = load_checkpoint(path, ClassifierConfig)
    assert config == CONFIG
    torch.testing.assert_close(loaded["weight"], torch.ones(3), rtol=0, atol=0)
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_failed_save_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state())

    def full(obj: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WeightsError, match=rf"{path}: cannot be written: no space left"):
        save_checkpoint(path, state(2.0))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert load_checkpoint(path, ClassifierConfig)[0]["weight"][0] == 1


class Code:
    """Something that must not be unpickled."""


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "wrong.pt"

    def refused(message: str) -> None:
        with pytest.raises(WeightsError, match=rf"wrong\.pt: {message}"):
            load_checkpoint(path, ClassifierConfig)

    refused("not a readable checkpoint")
    path.write_text("plain text")
    refused("not a readable checkpoint")
    torch.save({"config": Code()}, path)
    refused("not a readable checkpoint")
    save_checkpoint(path, state())
    path.write_bytes(path.read_bytes()[:200])
    refused("not a readable checkpoint")
    for other in ([1, 2], {"weight": torch.ones(1)}, {"config": 5}):
        with path.open("wb") as file:
            dump(other, file)
        refused("not a checkpoint of a training run")
    save_checkpoint(path, {"config": dataclasses.asdict(DefenseConfig())})
    refused("not a checkpoint for a ClassifierConfig: unknown key")


def dump(value: object, file: BinaryIO) -> None:
    torch.save(value, file)

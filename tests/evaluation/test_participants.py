from __future__ import annotations

import importlib
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from unmorph.attributes import ATTRIBUTES
from unmorph.cli import app
from unmorph.deepfakes.stargan import Generator
from unmorph.defenses.base import _BUILDERS, Options
from unmorph.defenses.floors import UniformNoise
from unmorph.errors import ConfigError
from unmorph.evaluation import participants
from unmorph.evaluation.participants import (
    open_deepfake,
    open_defense,
    open_judge,
    open_labeller,
    open_subject,
)
from unmorph.runtime import OnnxDeepfake
from unmorph.weights.store import identity, sha256


def faces(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_networks_take_and_return_tensors(
    deepfake_file: Path, defense_file: Path, classifier_file: Path
) -> None:
    network, about = open_deepfake(str(deepfake_file))
    targets = torch.tensor([[1.0, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
    shift = torch.tensor([0.3, 0.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(network.edit(faces(), targets), faces() + shift)
    assert about["name"] == "stargan"
    assert len(about["sha256"]) == 64

    defense, about = open_defense(str(defense_file))
    moved = (faces() - 0.05 * (0.5 + faces() / 4)).clamp(-1, 1)
    torch.testing.assert_close(defense.protect(faces()), moved, atol=1e-6, rtol=0)
    assert about["epsilon"] == 0.05

    red = torch.tensor([0.5, -0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 128, 128)
    judge, _ = open_judge(classifier_file)
    torch.testing.assert_close(judge(red), torch.tensor([[0.5, -0.5, 0.0, 0.5, -1.0]]))
    assert open_labeller(classifier_file)(red).tolist() == [[1, 0, 0, 1, 0]]


def test_an_onnx_deepfake_takes_no_other_weights(deepfake_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"stargan\.onnx: has weights of its own; leave out b"):
        open_deepfake(str(deepfake_file), weights=Path("b.onnx"))


def test_a_device_that_is_not_there_is_named(deepfake_file: Path) -> None:
    for name in ("stargan", str(deepfake_file)):
        with pytest.raises(ConfigError, match="device warp: cannot be used here"):
            open_deepfake(name, device="warp")


def test_registered_deepfake_takes_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "tiny-G.ckpt"
    torch.save(Generator(conv_dim=2, repeat_num=1).state_dict(), path)
    network, about = open_deepfake("stargan", weights=path)
    assert network.edit(faces(), torch.zeros(2, 5)).shape == (2, 3, 128, 128)
    assert about["name"] == "stargan"
    assert (about["file"], about["sha256"]) == ("tiny-G.ckpt", sha256(path))
    for name in ("stargan", "stargan-celeba-128"):
        assert open_deepfake(name, weights=path)[1]["origin"] == "given file"


def test_compiled_deepfake_edits_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny-G.ckpt"
    torch.save(Generator(conv_dim=2, repeat_num=1).state_dict(), path)
    seen = []

    def traced(call: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        seen.append(call)  # in seconds, where a compiler takes its minute
        return torch_compile(call, backend="eager", **options)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", traced)
    plain, _ = open_deepfake("stargan", weights=path)
    compiled, about = open_deepfake("stargan", weights=path, compiled=True)
    assert len(seen) == 1
    expected = plain.edit(faces(), torch.zeros(2, 5))
    torch.testing.assert_close(compiled.edit(faces(), torch.zeros(2, 5)), expected)
    assert "compiled" not in about


def test_an_onnx_deepfake_is_not_compiled(deepfake_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"stargan\.onnx: torch compiles registered deepfakes"):
        open_deepfake(str(deepfake_file), compiled=True)


def test_registered_defense_says_what_it_ran_with(tmp_path: Path) -> None:
    path = tmp_path / "tiny-G.ckpt"
    torch.save(Generator(conv_dim=2, repeat_num=1).state_dict(), path)
    deepfake, _ = open_deepfake("stargan", weights=path)
    defense, about = open_defense("pgd", deepfake, epsilon=0.02, options={"steps": "1"})
    labels = torch.zeros(2, 5)
    assert 0 < (defense.protect(faces(), labels) - faces()).abs().max() <= 0.02 + 1e-6
    assert (about["name"], about["changed"]) == ("pgd", {"steps": "1"})
    assert (about["epsilon"], about["options"]["steps"]) == (0.02, 1)
    assert about["options"]["step_size"] == 0.0005


def test_whatever_is_registered_says_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Brightness(Options):
        much: float = 0.25

    class Brighter(UniformNoise):
        """Adds light."""

    monkeypatch.setitem(_BUILDERS, "brighter", (Brighter, Brightness(0.5)))
    _, about = open_defense("brighter", options={"much": "0.75"})
    assert about["options"] == {"much": 0.75}
    _, about = open_defense("brighter")
    assert (about["changed"], about["options"]) == ({}, {"much": 0.5})


def test_other_code_is_another_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        from unmorph.defenses.floors import UniformNoise

        class Louder(UniformNoise):
            pass
        """
    path, weights = tmp_path / "louder.py", tmp_path / "tiny.ckpt"
    torch.save(Generator(conv_dim=2, repeat_num=1).state_dict(), weights)
    monkeypatch.syspath_prepend(tmp_path)

    def code(changed: str) -> str:
        path.write_text(textwrap.dedent(text) + changed)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "modules", dict(sys.modules))
            louder = importlib.import_module("louder").Louder
            patch.setitem(_BUILDERS, "louder", (louder, Options()))
            return open_subject("stargan", "louder", weights=weights).code

    assert code("") == code("") != code("# changed")


def test_unknown_defense_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"unknown defense 'magic'; choose one of .*pgd, "):
        open_defense("magic")


def test_attack_on_an_onnx_deepfake_is_refused(deepfake_file: Path) -> None:
    deepfake, _ = open_deepfake(str(deepfake_file))
    with pytest.raises(ConfigError, match="give an ONNX file as its weights"):
        open_defense("pgd", deepfake)


def test_a_network_takes_no_options(defense_file: Path) -> None:
    with pytest.raises(ConfigError, match="takes no option steps"):
        open_defense(str(defense_file), options={"steps": "1"})


def test_evaluate_and_report(
    tmp_path: Path, deepfake_file: Path, defense_file: Path, classifier_file: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(generator.integers(0, 256, (140, 128, 3), dtype=np.uint8)).save(
            photos / f"{index}.png"
        )
    (photos / "broken.png").write_bytes(b"no photo")
    record = tmp_path / "results" / "x.json"
    command = ["evaluate", "--data", str(photos), "--dataset", "folder", "-o", str(record)]
    command += [
        "--deepfake",
        str(deepfake_file),
        "--defense",
        str(defense_file),
        "--metrics",
        "fast",
    ]
    command += [
        "--judge",
        str(classifier_file),
        "--labeller",
        str(classifier_file),
        "--batch-size",
        "2",
    ]
    run = CliRunner()

    refused = run.invoke(app, command)
    assert refused.exit_code == 1
    assert "broken.png; mend or remove them (`unmorph evaluate --skip-unreadable`" in " ".join(
        refused.output.split()
    )
    assert not record.parent.exists()

    done = run.invoke(app, [*command, "--skip-unreadable"])
    assert done.exit_code == 0, done.output
    content = json.loads(record.read_text())
    assert content["dataset"]["count"] == 3
    assert content["dataset"]["left_out"] == ["broken.png"]
    assert content["settings"]["labels"] == "classifier"
    assert content["settings"]["labeller"] == identity(classifier_file)
    assert content["judge"]["file"] == "attributes.onnx"
    assert content["defense"]["name"] == "defense"
    assert [path.name for path in record.parent.iterdir()] == ["x.json"]

    report = tmp_path / "report.md"
    rendered = run.invoke(app, ["report", str(record), "-o", str(report)])
    assert rendered.exit_code == 0
    assert re.search(r"\| 3, 1 unreadable left out \| defense \| 0\.0\d+ ± ", report.read_text())


def test_judges_edits_of_attributes_alone(
    monkeypatch: pytest.MonkeyPatch, deepfake_file: Path, classifier_file: Path
) -> None:
    subject = open_subject(str(deepfake_file), "none", judge=classifier_file)
    assert subject.judge is not None
    assert subject.about["judge"]["file"] == classifier_file.name
    monkeypatch.setattr(OnnxDeepfake, "edits", ("Male", "Smile"))
    subject = open_subject(str(deepfake_file), "none", judge=classifier_file)
    assert subject.judge is subject.about["judge"] is None


def test_judges_faces_of_its_own_size_alone(
    monkeypatch: pytest.MonkeyPatch, classifier_file: Path
) -> None:
    larger = SimpleNamespace(edits=ATTRIBUTES, size=256)
    monkeypatch.setattr(participants, "open_deepfake", lambda *_: (larger, {}))
    with pytest.raises(ConfigError, match="big: edits faces of 256 pixels, and the classifiers"):
        open_subject("big", "none", judge=classifier_file)


@pytest.mark.skipif("UNMORPH_DATA" not in os.environ, reason="UNMORPH_DATA unset")
def test_evaluate_celeba_with_its_own_labels(
    tmp_path: Path, deepfake_file: Path, classifier_file: Path
) -> None:
    record = tmp_path / "x.json"
    command = ["evaluate", "--data", str(Path(os.environ["UNMORPH_DATA"]) / "celeba"), "-o"]
    command += [str(record), "--deepfake", str(deepfake_file), "--defense", "noise"]
    command += ["--metrics", "fast", "--limit", "4", "--judge", str(classifier_file)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    content = json.loads(record.read_text())
    assert content["settings"]["labels"] == "publisher"
    assert (content["dataset"]["count"], content["dataset"]["available"]) == (4, 1999)
    assert content["dataset"]["split"] == "test"

"""What every registered deepfake must keep."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unmorph import deepfakes
from unmorph.attributes import ATTRIBUTES, are_attributes
from unmorph.deepfakes import Deepfake
from unmorph.deepfakes.base import _LOADERS
from unmorph.deepfakes.stargan import Generator, StarGAN
from unmorph.errors import ConfigError, WeightsError
from unmorph.export import example_faces


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StarGAN of four channels."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(Generator(4, repeat_num=1).state_dict(), path)
    return path


def refuse(*_: object, **__: object) -> None:
    """A test takes weights that are here and never downloads any."""
    raise ConnectionError("no downloads in tests")


@pytest.fixture(scope="module", params=[*deepfakes.names(), "small"])
def deepfake(request: pytest.FixtureRequest, small_weights: Path) -> Deepfake:
    if request.param == "small":
        return deepfakes.load("stargan", weights=small_weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pooch.HTTPDownloader.__call__", refuse)
        try:
            return deepfakes.load(request.param)
        except WeightsError as error:
            pytest.skip(f"no weights here: {error}")


def some_labels(deepfake: Deepfake, count: int) -> Tensor:
    return torch.zeros(count, len(ATTRIBUTES) if are_attributes(deepfake.edits) else 1)


def test_contract(deepfake: Deepfake) -> None:
    faces = example_faces(2, deepfake.size).requires_grad_()
    labels = some_labels(deepfake, 2)
    before = {name: value.clone() for name, value in deepfake.state_dict().items()}
    for edit in deepfake.edits:
        edited = deepfake.edit(faces, edit, labels)
        assert edited.shape == faces.shape
        assert edited.dtype == torch.float32
        assert edited.abs().max() <= 1
        targets = deepfake.targets(edit, labels)
        width = len(ATTRIBUTES) if are_attributes(deepfake.edits) else targets.shape[1]
        assert targets.shape == (len(faces), width)
        torch.testing.assert_close(deepfake.edit(faces, targets), edited, rtol=0, atol=0)
    edited.square().sum().backward()
    assert faces.grad is not None
    assert faces.grad.abs().flatten(1).sum(1).min() > 0
    assert all(p.grad is None and not p.requires_grad for p in deepfake.parameters())
    assert not deepfake.training
    assert deepfake.provenance["origin"]
    torch.testing.assert_close(dict(deepfake.state_dict()), before, rtol=0, atol=0)


def test_edits_differ_and_faces_do_not_mix(deepfake: Deepfake) -> None:
    faces = example_faces(2, deepfake.size)
    labels = some_labels(deepfake, 2)
    with torch.no_grad():
        edited = {edit: deepfake.edit(faces, edit, labels) for edit in deepfake.edits}
        alone = deepfake.edit(faces[1:], deepfake.edits[0], labels[1:])
    torch.testing.assert_close(edited[deepfake.edits[0]][1:], alone, rtol=1e-4, atol=1e-5)
    first, *others = edited.values()
    assert all((first - other).abs().max() > 1e-4 for other in others)


def test_unknown_edit_lists_the_choices(deepfake: Deepfake) -> None:
    choices = ", ".join(deepfake.edits)
    with pytest.raises(ConfigError, match=f"'Smile'; choose one of {choices}"):
        deepfake.edit(example_faces(1, deepfake.size), "Smile")


def test_without_labels_they_are_read_off_the_faces(
    deepfake: Deepfake, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = example_faces(1, deepfake.size)
    labels = some_labels(deepfake, 1)
    labels[:, -1] = 1
    monkeypatch.setattr(deepfake, "read_labels", lambda faces: labels)
    edit = deepfake.edits[0]
    with torch.no_grad():
        expected = deepfake.edit(faces, edit, labels)
        assert torch.equal(deepfake.edit(faces, edit), expected)


def test_labels_come_from_the_shipped_classifier(
    small_weights: Path, classifier_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unmorph.runtime.CLASSIFIER", classifier_file)
    faces = torch.zeros(2, 3, 128, 128)
    faces[0, 0], faces[1, 1] = 0.5, 0.5
    deepfake = deepfakes.load("stargan", weights=small_weights)
    labels = deepfake.read_labels(faces.requires_grad_())
    assert labels.tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]


def test_edits_are_all_attributes_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(weights: Path | None) -> Deepfake:
        deepfake: Deepfake = StarGAN(Generator(4, repeat_num=1), {})
        deepfake.edits = ("Male", "Smiling")
        return deepfake

    monkeypatch.setitem(_LOADERS, "mixed", build)
    with pytest.raises(ConfigError, match=r"'mixed': its edits are names of .*; Smiling are not"):
        deepfakes.load("mixed")


def test_registry_of_deepfakes(tmp_path: Path) -> None:
    assert {"fast-aginggan", "stargan", "stargan-celeba-128"} <= set(deepfakes.names())
    with pytest.raises(ConfigError, match="'stargan' is registered already"):
        deepfakes.register("stargan")(lambda weights: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(
        ConfigError, match=r"'attgan'; choose one of .*stargan, .*stargan-celeba-128"
    ):
        deepfakes.load("attgan")
    with pytest.raises(WeightsError, match=r"absent\.pt: no such weights file"):
        deepfakes.load("stargan", weights=tmp_path / "absent.pt")

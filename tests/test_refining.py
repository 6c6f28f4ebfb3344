from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unmorph import runtime
from unmorph.attributes import edit_targets
from unmorph.deepfakes.gradient import DifferentiatedGenerator
from unmorph.deepfakes.stargan import Generator, StarGAN
from unmorph.defenses import Defense
from unmorph.defenses import load as load_defense
from unmorph.export import example_faces, export_onnx
from unmorph.refining import AIMS, Refiner
from unmorph.runtime import Floats, OnnxClassifier, OnnxDefense, OnnxGradient

STEPS = 5


@pytest.fixture(scope="module")
def deepfake() -> StarGAN:
    """A small StarGAN that was never trained, with weights that float16 can hold."""
    torch.manual_seed(0)
    generator = Generator(conv_dim=4, repeat_num=1, residual=True)
    with torch.no_grad():
        for value in generator.parameters():
            value.copy_(value.half().float())
    network = StarGAN(generator, {"origin": "random weights"})
    network.freeze()
    return network


@pytest.fixture(scope="module")
def stargan_file(deepfake: StarGAN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = DifferentiatedGenerator(conv_dim=4, repeat_num=1, residual=True)
    network.load_state_dict(deepfake.generator.state_dict())
    path = tmp_path_factory.mktemp("gradient") / "stargan-gradient.onnx"
    inputs = {"faces": example_faces(), "targets": torch.ones(2, 5)}
    export_onnx(network, path, inputs=inputs, outputs=["edited", "gradient"], metadata={})
    return path


@pytest.fixture(params=["subtle", "strong"])
def strength(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def refiner(
    strength: str, stargan_file: Path, defense_file: Path, classifier_file: Path
) -> Refiner:
    gradient = OnnxGradient(stargan_file, threads=1)
    classifier = OnnxClassifier(classifier_file, threads=1)
    start = OnnxDefense(defense_file, threads=1)
    return Refiner(start, [gradient], classifier, STEPS, AIMS[strength])


def some_faces(count: int = 2) -> Floats:
    faces: Floats = example_faces(count, seed=4).numpy()
    return faces


def moved(deepfake: StarGAN, faces: Floats, labels: Tensor) -> float:
    """How far the edits move some faces, on average."""
    x = torch.from_numpy(faces)
    with torch.no_grad():
        edits = [deepfake(x, edit_targets(labels, edit)) for edit in deepfake.edits]
    return float(torch.stack([(edited - x).square().mean() for edited in edits]).mean())


def test_edits_move_a_refined_face_less(refiner: Refiner, deepfake: StarGAN) -> None:
    faces = some_faces()
    labels = torch.from_numpy(refiner.classifier.labels(faces))
    start = refiner.start.protect(faces)
    before = moved(deepfake, start, labels)
    sharp = copy.copy(refiner)
    sharp.aim = dataclasses.replace(refiner.aim, smooth=0.0)
    assert moved(deepfake, sharp.protect(faces), labels) < 0.9 * before
    # In noise there is little for smooth steps to find.
    assert moved(deepfake, refiner.protect(faces), labels) < 0.97 * before


def test_stays_close_and_within_epsilon(refiner: Refiner) -> None:
    faces = some_faces()
    refined = refiner.protect(faces)
    assert refined.dtype == np.float32
    assert np.abs(refined).max() <= 1
    assert np.abs(refined - faces).max() <= refiner.epsilon + 1e-6
    errors = np.square(refined - faces).mean(axis=(1, 2, 3))
    assert (10 * np.log10(4 / errors)).min() >= refiner.aim.psnr - 1e-3


def test_a_face_does_not_depend_on_its_batch(refiner: Refiner) -> None:
    faces = some_faces(3)
    together, alone = refiner.protect(faces), refiner.protect(faces[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


def test_is_the_defense_of_the_benchmark(
    refiner: Refiner, deepfake: StarGAN, defense_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtime.DEFENSES, "subtle", defense_file)
    faces = some_faces()
    labels = torch.from_numpy(refiner.classifier.labels(faces))
    aim = refiner.aim
    options = {"psnr": str(aim.psnr), "channels": ",".join(aim.channels)}
    options |= {"step_size": str(aim.stride(STEPS)), "smooth": str(aim.smooth)}
    in_torch: Defense = load_defense("refine-5", deepfake, options=options)
    expected = in_torch.protect(torch.from_numpy(faces), labels).numpy()
    found = refiner.protect(faces)
    # Torch's channels are near the real ones, but for a level here and there.
    tolerance = 0.2 if aim.channels else 1e-3
    assert np.abs(found - expected).mean() < tolerance * np.abs(found - faces).mean()


def test_black_and_white_gets_no_colour(refiner: Refiner) -> None:
    grey = some_faces().mean(axis=1, keepdims=True).repeat(3, axis=1)
    change = refiner.protect(grey) - grey
    assert np.abs(change).max() > 0.01
    assert np.ptp(change, axis=1).max() < 1e-6

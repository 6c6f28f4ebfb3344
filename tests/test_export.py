from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from unmorph import export
from unmorph.classifier import AttributeClassifier
from unmorph.deepfakes.gradient import DifferentiatedGenerator
from unmorph.deepfakes.stargan import Generator, load_generator
from unmorph.defenses import PerturbationGenerator
from unmorph.errors import WeightsError
from unmorph.export import TOLERANCE, example_faces, export_onnx, round_to_half_
from unmorph.objectives import adversarial_loss
from unmorph.resampling import gaussian
from unmorph.runtime import OnnxClassifier, OnnxDeepfake, OnnxDefense, OnnxGradient
from unmorph.weights.tensors import read_tensors

Network = TypeVar("Network", bound=nn.Module)


def trained(network: Network) -> Network:
    """Give a network weights and statistics that are no longer those of a fresh one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(1 + noise.abs())
            elif value.ndim == 1:
                value.add_(0.3 * noise)
            elif value.ndim > 1:
                value.copy_(noise * 2 / value[0].numel() ** 0.5)
    return network


def check_tensors(network: nn.Module, path: Path) -> None:
    """The file holds the network's state, which is what float16 can hold."""
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    tensors = read_tensors(path)
    assert set(tensors) == set(state)
    for name, value in state.items():
        assert torch.equal(tensors[name], value), name
        assert torch.equal(value, value.half().float()), name
    assert str(Path(__file__).parents[1]).encode() not in path.read_bytes()  # no machine's paths
    stored = {item.name: item.data_type for item in onnx.load(path).graph.initializer}
    assert {stored[name] for name in state} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize(("smooth", "detail"), [(0.0, 0.0), (1.0, 0.0), (0.0, 8.0), (1.0, 8.0)])
def test_defense(tmp_path: Path, smooth: float, detail: float) -> None:
    network = trained(PerturbationGenerator(4, epsilon=0.07, smooth=smooth, detail=detail))
    path = tmp_path / "new" / "defense.onnx"
    metadata = {"epsilon": repr(network.epsilon)}
    inputs = {"faces": example_faces()}
    assert (
        export_onnx(network, path, inputs=inputs, outputs=["perturbation"], metadata=metadata)
        <= TOLERANCE
    )
    assert [p.name for p in path.parent.iterdir()] == ["defense.onnx"]
    defense = OnnxDefense(path, threads=1)
    assert defense.epsilon == 0.07
    for count in (1, 3):
        faces = example_faces(count, seed=count)
        with torch.no_grad():
            expected = network.protect(faces)
        assert (expected - faces).abs().max() > 0.03
        np.testing.assert_allclose(defense.protect(faces.numpy()), expected, atol=1e-5)
    check_tensors(network, path)
    # The export rounded the network's own matrix and not the one that the others share.
    assert gaussian(128, 1.0).sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert not gaussian(128, 1.0).flags.writeable


def test_deepfake(tmp_path: Path) -> None:
    network = trained(Generator(4, repeat_num=1))
    path = tmp_path / "stargan.onnx"
    inputs = {"faces": example_faces(), "targets": torch.ones(2, 5)}
    export_onnx(network, path, inputs=inputs, outputs=["edited"], metadata={})
    deepfake = OnnxDeepfake(path, threads=1)
    again = load_generator(path)
    for count in (1, 3):
        faces, targets = example_faces(count, seed=count), torch.eye(5)[:count]
        with torch.no_grad():
            expected = network(faces, targets)
            torch.testing.assert_close(again(faces, targets), expected)
        found = deepfake.edit(faces.numpy(), targets.numpy())
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    check_tensors(network, path)


@pytest.mark.parametrize("residual", [False, True])
def test_deepfake_with_its_gradient(tmp_path: Path, residual: bool) -> None:
    plain = trained(Generator(4, repeat_num=1, residual=residual))
    network = DifferentiatedGenerator(4, repeat_num=1, residual=residual)
    network.load_state_dict(plain.state_dict())
    path = tmp_path / "stargan-gradient.onnx"
    inputs = {"faces": example_faces(), "targets": torch.ones(2, 5)}
    outputs = ["edited", "gradient"]
    export_onnx(network, path, inputs=inputs, outputs=outputs, metadata={})
    faces, targets = example_faces(3, seed=1).requires_grad_(), torch.eye(5)[:3]
    edited = load_generator(path)(faces, targets)
    losses = adversarial_loss(faces, edited)
    (gradient,) = torch.autograd.grad(losses.sum(), faces)
    found = OnnxGradient(path, threads=1).gradient(faces.detach().numpy(), targets.numpy())
    np.testing.assert_allclose(found[0], edited.detach(), atol=TOLERANCE)
    scale = float(gradient.abs().max())
    assert scale > 0
    np.testing.assert_allclose(found[1] / scale, gradient / scale, atol=1e-3)
    check_tensors(network, path)


def test_a_gradient_without_one_of_its_terms_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = DifferentiatedGenerator(4, repeat_num=1, residual=True)
    network.load_state_dict(trained(Generator(4, repeat_num=1, residual=True)).state_dict())
    inputs = {"faces": example_faces(), "targets": torch.ones(2, 5)}
    compare = export.compare

    def spoiled(network: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> float:
        class Rest(nn.Module):
            def forward(self, faces: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
                edited, gradient = network(faces, targets)
                return edited, gradient + (edited - faces) * (2 / faces[0].numel())

        return compare(Rest(), path, inputs)

    monkeypatch.setattr(export, "compare", spoiled)
    path, outputs = tmp_path / "gradient.onnx", ["edited", "gradient"]
    with pytest.raises(WeightsError, match=r"gradient\.onnx: the exported file differs"):
        export_onnx(network, path, inputs=inputs, outputs=outputs, metadata={})


def test_classifier(tmp_path: Path) -> None:
    network = trained(AttributeClassifier(4))
    path = tmp_path / "attributes.onnx"
    export_onnx(network, path, inputs={"faces": example_faces()}, outputs=["logits"], metadata={})
    classifier = OnnxClassifier(path, threads=1)
    for count in (1, 3):
        faces = example_faces(count, seed=count)
        with torch.no_grad():
            expected = network(faces)
        np.testing.assert_allclose(classifier.logits(faces.numpy()), expected, atol=TOLERANCE)
    check_tensors(network, path)


def test_a_difference_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "defense.onnx"
    path.write_bytes(b"the old one")
    compare = export.compare

    def spoiled(network: nn.Module, *arguments: object) -> float:
        assert isinstance(network, PerturbationGenerator)
        network.last[1].get_parameter("bias").data.add_(0.5)
        return compare(network, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "compare", spoiled)
    inputs = {"faces": example_faces()}
    with pytest.raises(WeightsError, match=r"defense\.onnx: the exported file differs .* by 0\.0"):
        export_onnx(
            PerturbationGenerator(2), path, inputs=inputs, outputs=["perturbation"], metadata={}
        )
    assert [p.name for p in tmp_path.iterdir()] == ["defense.onnx"]
    assert path.read_bytes() == b"the old one"


class Huge(nn.Module):
    """A network whose weight no half can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1e6]))

    def forward(self, faces: Tensor) -> Tensor:
        return faces * self.weight


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="differs from the network by nan"):
        export_onnx(
            Huge(),
            tmp_path / "huge.onnx",
            inputs={"faces": example_faces(2, 8)},
            outputs=["y"],
            metadata={},
        )
    assert list(tmp_path.iterdir()) == []


def test_rounding_covers_statistics_and_spares_counts() -> None:
    network = nn.BatchNorm1d(1)
    assert network.running_mean is not None
    assert network.num_batches_tracked is not None
    network.running_mean.fill_(0.1)
    network.num_batches_tracked.fill_(2**40 + 1)
    round_to_half_(network)
    assert network.running_mean.item() == float(np.float16(0.1))
    assert network.num_batches_tracked.item() == 2**40 + 1


def test_examples_are_smooth_faces_in_range() -> None:
    faces = example_faces(3)
    assert faces.shape == (3, 3, 128, 128)
    assert faces.abs().max() <= 1
    assert (faces[:, :, 1:] - faces[:, :, :-1]).abs().mean() < 0.1 * faces.std()
    assert torch.equal(faces, example_faces(3))
    assert not torch.equal(faces, example_faces(3, seed=1))

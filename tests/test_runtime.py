from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from unmorph.errors import WeightsError
from unmorph.runtime import Floats, OnnxClassifier, OnnxDeepfake, OnnxDefense

EPSILON = 0.05  # of the tiny defense


def faces(count: int) -> Floats:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (count, 3, 128, 128)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 8, 19])
def test_defense_adds_its_perturbation(defense_file: Path, count: int) -> None:
    batch = faces(count)
    defense = OnnxDefense(defense_file, threads=1)
    protected = defense.protect(batch)
    assert defense.epsilon == EPSILON
    assert protected.dtype == np.float32
    expected = np.clip(batch - EPSILON * (0.5 + batch / 4), -1, 1)
    np.testing.assert_allclose(protected, expected, atol=1e-6)


def test_defense_is_held_to_its_epsilon(save_network: Callable[..., Path]) -> None:
    path = save_network(
        "loud.onnx",
        [helper.make_node("Mul", ["faces", "ten"], ["perturbation"])],
        {"ten": 10},
        ("perturbation", ("N", 3, 128, 128)),
        {"epsilon": "0.02"},
    )
    batch = faces(2)
    protected = OnnxDefense(path, threads=1).protect(batch)
    assert np.abs(protected - batch).max() == pytest.approx(0.02, abs=1e-6)
    assert np.abs(protected).max() <= 1


def test_deepfake_edits_towards_its_targets(deepfake_file: Path) -> None:
    batch = faces(2)
    targets = np.array([[0, 0, 0, 0, 0], [1, 0, 0, 1, 1]])
    edited = OnnxDeepfake(deepfake_file, threads=1).edit(batch, targets)
    np.testing.assert_allclose(edited[0], batch[0])
    np.testing.assert_allclose(edited[1], batch[1] + 0.3, atol=1e-6)


def test_classifier_names_one_hair_colour_or_none(classifier_file: Path) -> None:
    batch = np.zeros((4, 3, 128, 128), np.float32)
    batch[0, 0], batch[1, 1] = 0.5, 0.5
    batch[2] = np.array([-0.3, 0.1, 0.2], np.float32)[:, None, None]
    batch[3] = np.array([-0.3, -0.2, -0.1], np.float32)[:, None, None]
    labels = OnnxClassifier(classifier_file, threads=1).labels(batch)
    assert labels.tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5]


def test_wrong_shapes(defense_file: Path, deepfake_file: Path) -> None:
    with pytest.raises(ValueError, match=r"\(N, 3, 128, 128\), got \(1, 3, 64, 64\)"):
        OnnxDefense(defense_file, threads=1).protect(np.zeros((1, 3, 64, 64), np.float32))
    with pytest.raises(ValueError, match=r"targets \(2, 5\), got \(1, 5\)"):
        OnnxDeepfake(deepfake_file, threads=1).edit(faces(2), np.zeros((1, 5)))


def test_weights_in_another_file_are_refused(tmp_path: Path, deepfake_file: Path) -> None:
    path = tmp_path / "split.onnx"
    model = onnx.load(deepfake_file)
    onnx.save(model, path, save_as_external_data=True, location="split.data", size_threshold=0)
    with pytest.raises(WeightsError, match=r"split\.onnx: keeps weights in another file"):
        OnnxDeepfake(path)


def test_absent_damaged_and_mistaken_files(tmp_path: Path, deepfake_file: Path) -> None:
    with pytest.raises(WeightsError, match="no such network"):
        OnnxDefense(tmp_path / "absent.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(deepfake_file.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"damaged\.onnx: not a usable ONNX network"):
        OnnxDeepfake(damaged)
    with pytest.raises(WeightsError, match="expected one from faces to perturbation"):
        OnnxDefense(deepfake_file)


def test_a_network_for_other_faces(deepfake_file: Path, tmp_path: Path) -> None:
    model = onnx.load(deepfake_file)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 256
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(WeightsError, match=r"large\.onnx: .*; expected \(N, 3, 128, 128\)"):
        OnnxDeepfake(tmp_path / "large.onnx")


def test_a_network_that_fails_is_named(save_network: Callable[..., Path]) -> None:
    path = save_network(
        "wrong.onnx",
        [helper.make_node("Reshape", ["faces", "shape"], ["perturbation"])],
        {"shape": [7]},
        ("perturbation", ("M",)),
        {"epsilon": "0.05"},
    )
    with pytest.raises(WeightsError, match=r"wrong\.onnx: the network fails: "):
        OnnxDefense(path, threads=1).protect(faces(1))


@pytest.mark.parametrize("metadata", [{}, {"epsilon": "much"}])
def test_defense_without_epsilon(
    save_network: Callable[..., Path], metadata: dict[str, str]
) -> None:
    path = save_network(
        "nameless.onnx",
        [helper.make_node("Neg", ["faces"], ["perturbation"])],
        {},
        ("perturbation", ("N", 3, 128, 128)),
        metadata,
    )
    with pytest.raises(WeightsError, match="names no epsilon"):
        OnnxDefense(path)

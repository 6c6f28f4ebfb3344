"""What tests share: a portrait, and tiny networks with the interfaces of the shipped ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from unmorph.photo import read
from unmorph.protector import Protector
from unmorph.samples import PORTRAIT

EPSILON = 0.05

Save = Callable[..., Path]


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """The sample photo, (512, 512, 3), with one face; not to be written to."""
    pixels = read(PORTRAIT).pixels
    pixels.flags.writeable = False
    return pixels


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> io.StringIO:
    """What stands for a terminal, and keeps what is shown on it."""
    return _Terminal()


@pytest.fixture(scope="session")
def save_network(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Return a function that saves nodes as an ONNX file and returns its path."""
    folder = tmp_path_factory.mktemp("networks")

    def save(
        name: str,
        nodes: list[onnx.NodeProto],
        constants: Mapping[str, object],
        output: tuple[str, tuple[str | int, ...]],
        metadata: Mapping[str, str] | None = None,
        targets: bool = False,
        gradient: bool = False,
    ) -> Path:
        shapes: list[tuple[str, tuple[str | int, ...]]] = [("faces", ("N", 3, 128, 128))]
        if targets:
            shapes.append(("targets", ("N", 5)))
        outputs = [output, ("gradient", output[1])] if gradient else [output]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
            [
                numpy_helper.from_array(
                    np.asarray(value, np.int64 if key == "shape" else np.float32), key
                )
                for key, value in constants.items()
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model)
        onnx.save(model, folder / name)
        return folder / name

    return save


@pytest.fixture(scope="session")
def defense_file(save_network: Save) -> Path:
    """A defense that moves every pixel by up to epsilon towards black: -eps * (0.5 + x / 4)."""
    return save_network(
        "defense.onnx",
        [
            helper.make_node("Mul", ["faces", "slope"], ["scaled"]),
            helper.make_node("Add", ["scaled", "level"], ["perturbation"]),
        ],
        {"slope": -EPSILON / 4, "level": -EPSILON / 2},
        ("perturbation", ("N", 3, 128, 128)),
        {"epsilon": str(EPSILON)},
    )


@pytest.fixture(scope="session")
def deepfake_file(save_network: Save) -> Path:
    """A deepfake that brightens a face by a tenth for every label that it is asked for."""
    return save_network(
        "stargan.onnx",
        [
            helper.make_node("MatMul", ["targets", "weight"], ["sum"]),
            helper.make_node("Reshape", ["sum", "shape"], ["light"]),
            helper.make_node("Add", ["faces", "light"], ["edited"]),
        ],
        {"weight": np.full((5, 1), 0.1), "shape": [-1, 1, 1, 1]},
        ("edited", ("N", 3, 128, 128)),
        targets=True,
    )


@pytest.fixture(scope="session")
def gradient_file(save_network: Save) -> Path:
    """A deepfake that moves a face by a tenth of what it shows, and its gradient."""
    return save_network(
        "stargan-gradient.onnx",
        [
            helper.make_node("ReduceMean", ["targets"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Reshape", ["mean", "shape"], ["asked"]),
            helper.make_node("Mul", ["asked", "zero"], ["nothing"]),
            helper.make_node("Mul", ["faces", "more"], ["brighter"]),
            helper.make_node("Add", ["brighter", "nothing"], ["edited"]),
            helper.make_node("Mul", ["faces", "slope"], ["gradient"]),
        ],
        {"zero": 0, "more": 1.1, "slope": 0.02 / (3 * 128 * 128), "shape": [-1, 1, 1, 1]},
        ("edited", ("N", 3, 128, 128)),
        targets=True,
        gradient=True,
    )


@pytest.fixture(scope="session")
def classifier_file(save_network: Save) -> Path:
    """A classifier: black hair if red, blond if green, brown if blue rules; old; male if red."""
    weight = np.zeros((3, 5))
    weight[:, :3] = np.eye(3)
    weight[0, 3] = 1
    return save_network(
        "attributes.onnx",
        [
            helper.make_node("ReduceMean", ["faces"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["means", "weight"], ["sums"]),
            helper.make_node("Add", ["sums", "bias"], ["logits"]),
        ],
        {"weight": weight, "bias": [0, 0, 0, 0, -1]},
        ("logits", ("N", 5)),
    )


@pytest.fixture(scope="session")
def protector(defense_file: Path) -> Protector:
    """A protector with the tiny defense."""
    return Protector.load(defense_file, threads=1)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with twelve small portraits in three folders."""
    with Image.open(PORTRAIT) as image:
        small = image.resize((200, 200))
    for number in range(12):
        path = tmp_path / "album" / f"trip-{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.rotate(number).save(path)
    return tmp_path / "album"

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save_model
from safetensors.torch import save_file

from unmorph.errors import WeightsError
from unmorph.weights.tensors import read_tensors

HALF = {
    "main.0.weight": torch.arange(6).reshape(2, 3).half() / 7,
    "main.0.count": torch.tensor(3),
}


def write(path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(HALF, path)
    elif path.suffix == ".onnx":
        constants = [numpy_helper.from_array(v.numpy(), k) for k, v in HALF.items()]
        constants.append(numpy_helper.from_array(torch.ones(1).numpy(), "val_3"))
        node = helper.make_node("Identity", ["main.0.weight"], ["out"])
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT16, (2, 3))
        save_model(helper.make_model(helper.make_graph([node], "g", [], [out], constants)), path)
    else:
        torch.save(HALF, path)


@pytest.mark.parametrize("ending", [".safetensors", ".onnx", ".pt", ".ckpt"])
def test_any_format_gives_float32_by_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    write(path)
    tensors = read_tensors(path)
    assert set(tensors) == set(HALF)
    assert tensors["main.0.weight"].dtype == torch.float32
    assert torch.equal(tensors["main.0.weight"], HALF["main.0.weight"].float())
    assert tensors["main.0.count"].item() == 3
    assert not tensors["main.0.count"].is_floating_point()


@pytest.mark.parametrize("ending", [".safetensors", ".onnx", ".pt"])
def test_damaged_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    with pytest.raises(WeightsError, match=rf"weights\{ending}: no such weights file"):
        read_tensors(path)
    write(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(WeightsError, match=rf"weights\{ending}: not a readable"):
        read_tensors(path)


class Code:
    """Something that must not be unpickled."""


def test_only_tensors_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "code.pt"
    torch.save({"a": Code()}, path)
    with pytest.raises(WeightsError, match=r"code\.pt: not a readable weights file"):
        read_tensors(path)
    for value in ([torch.ones(1)], {"step": 3}, torch.ones(1)):
        torch.save(value, path)
        with pytest.raises(WeightsError, match="expected named tensors and nothing else"):
            read_tensors(path)

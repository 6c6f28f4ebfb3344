"""Named tensors from any of the files that hold them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from unmorph.errors import WeightsError
from unmorph.weights.convert import UNREADABLE


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read all named tensors of a ``.safetensors``, ``.onnx`` or PyTorch file, as float32.

    Of an ONNX file these are the initialisers, so that a network shipped once serves ONNX Runtime
    and torch alike. Nothing in a PyTorch file but tensors and plain values is accepted.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            tensors = _safetensors(path)
        elif path.suffix == ".onnx":
            tensors = _onnx(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise WeightsError(f"{path}: not a readable weights file: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise WeightsError(f"{path}: expected named tensors and nothing else")
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Say which tensors are not as a network has them; nothing where all names and shapes agree."""
    shapes = [{k: tuple(v.shape) for k, v in group.items()} for group in (expected, found)]
    wrong = sorted(dict(shapes[0].items() ^ shapes[1].items()))
    return f"{', '.join(wrong[:4])} missing, unknown or of another shape" if wrong else ""


def load_exported(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load what `read_tensors` read of an export into a network.

    Raises:
        WeightsError: they are another network's; the message says where they differ.
    """
    # An export has no use for how many batches the statistics were gathered over.
    own = network.state_dict()
    kept = {name: own[name] for name in own if not name.endswith("num_batches_tracked")}
    if wrong := differences(kept, weights):
        raise WeightsError(wrong)
    network.load_state_dict(weights, strict=False)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from error


def _onnx(path: Path) -> dict[str, Tensor]:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise WeightsError(f"{path}: not a readable ONNX file: {error}") from error
    # Parameters keep their module's path; the exporter's own constants have no dot in their name.
    return {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
        for item in graph.initializer
        if "." in item.name
    }

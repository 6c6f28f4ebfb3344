"""Trained networks as ONNX files: float16 on disk, float32 when run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxscript import optimizer
from torch import Tensor, nn

from unmorph.errors import WeightsError
from unmorph.files import whole

#: The exported file must give the network's own outputs to within this (on [-1,1], or in logits);
#: rounding the weights to half precision is applied to both sides.
TOLERANCE = 1e-4

#: And to within this share of the largest value: gradients are smaller than the tolerance.
SHARE = 1e-2


def round_to_half_(network: nn.Module) -> None:
    """Round all floating-point parameters and buffers to what float16 can hold."""
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


def export_onnx(
    network: nn.Module,
    path: str | os.PathLike[str],
    *,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    metadata: Mapping[str, str],
) -> float:
    """Write a network as an ONNX file and compare the two.

    The weights are rounded to float16 in ``network`` too, so that what runs from the file is what
    runs from torch. Initialisers keep their state-dict names, so that `read_tensors` gives back
    the state dict; each is followed by a cast, which ONNX Runtime folds when it opens the file.

    Args:
        network: in evaluation mode.
        path: where to write; whole or not at all.
        inputs: names and examples of the arguments, batch first.
        outputs: names of the results.
        metadata: free text that travels with the file.

    Returns:
        the largest difference between the file's output and the network's on the examples, as
        `compare` reckons it.

    Raises:
        WeightsError: the difference exceeds `TOLERANCE`, or the file cannot be written.
    """
    network.eval()
    round_to_half_(network)
    batch = torch.export.Dim("batch")
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            dynamo=True,
            # It would also merge batch normalisation into the convolutions before it: their
            # weights would then be rounded to others than torch's, under other names.
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise WeightsError(f"{path}: torch gave no ONNX program")
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    store_as_half(model)
    forget_origins(model)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    with whole(Path(path), WeightsError) as partial:
        onnx.save(model, partial, format="protobuf")
        difference = compare(network, partial, inputs)
        if not difference <= TOLERANCE:
            raise WeightsError(
                f"{path}: the exported file differs from the network by {difference:.2g}, more "
                f"than {TOLERANCE:g}; nothing was written"
            )
    return difference


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep from users what the exporter says about itself and not about their network."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it misses torchvision, whose operators are not used here
    try:
        with warnings.catch_warnings():
            # It calls a part of torch that torch has deprecated.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            # The inputs share their batch axis, as they should.
            warnings.filterwarnings("ignore", ".*axis name: batch will not be used", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def store_as_half(model: onnx.ModelProto) -> None:
    """Replace float32 initialisers by float16 ones of the same name, cast back where used."""
    casts = []
    renamed = {}
    for item in model.graph.initializer:
        array = numpy_helper.to_array(item)
        if array.dtype != np.float32:
            continue
        item.CopyFrom(numpy_helper.from_array(array.astype(np.float16), item.name))
        renamed[item.name] = f"{item.name}.float32"
        casts.append(
            helper.make_node("Cast", [item.name], [renamed[item.name]], to=onnx.TensorProto.FLOAT)
        )
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
    del model.graph.value_info[:]
    for position, cast in enumerate(casts):
        model.graph.node.insert(position, cast)


def forget_origins(model: onnx.ModelProto) -> None:
    """Remove where each node came from: the exporter notes the paths of the machine it ran on."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]


def compare(network: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> float:
    """Return the largest difference between a network's outputs and those of its ONNX file.

    In outputs that are so small that `SHARE` of them is less than `TOLERANCE`, it counts as much
    more.
    """
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in inputs.items()}
    found = session.run(None, feed)
    with torch.no_grad():
        expected = network(*inputs.values())
    if isinstance(expected, Tensor):
        expected = (expected,)
    with np.errstate(invalid="ignore"):  # infinite minus infinite: no number, hence no match
        differences = [
            np.abs(one - other).max() * max(1, TOLERANCE / (SHARE * _largest(other)))
            for one, other in zip(found, (value.numpy() for value in expected), strict=True)
        ]
    return float(np.max(differences))  # no number where any is none


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max()) or 1


def example_faces(count: int = 2, size: int = 128, seed: int = 0) -> Tensor:
    """Return smooth random pictures (count, 3, size, size) in [-1,1] to compare networks on."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)
    return smooth.clamp(-1, 1)

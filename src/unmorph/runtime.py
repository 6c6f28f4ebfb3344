"""Networks under ONNX Runtime: numpy in, numpy out, no torch.

All of them speak face batches: float32 NCHW in [-1, 1], 128 x 128 pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from unmorph.attributes import ATTRIBUTES
from unmorph.bounds import bound
from unmorph.errors import ConfigError, WeightsError

Floats = NDArray[np.float32]
PathLike = str | os.PathLike[str]

#: The folder of the networks that are part of this package.
SHIPPED = Path(__file__).parent / "weights" / "shipped"

#: The classifier that reads a photo's labels, and the one that judges edits, trained apart from it.
CLASSIFIER, JUDGE = SHIPPED / "attributes.onnx", SHIPPED / "judge.onnx"

#: The defenses that are part of it, by strength: one that nobody sees, and one that stands more.
DEFENSES = {
    "subtle": SHIPPED / "defense-subtle.onnx",
    "strong": SHIPPED / "defense-strong.onnx",
}

#: One more that is, for the paper's comparison: it saw no crop but its own, and stands no other.
FRAMED = SHIPPED / "defense-framed.onnx"

#: The faces' height and width.
SIZE = 128

#: Faces that go through a network at once; more only costs memory.
_BATCH = 8

# ONNX Runtime raises these, which have no base class of their own.
_UNUSABLE = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


#: How a tensor of an ONNX file begins to say where its values lie, if not in the file.
_EXTERNAL = b"\n\x08location\x12"


def shipped_defense(strength: str) -> Path:
    """Return the file of the shipped defense of a strength.

    Raises:
        ConfigError: there is no such strength; the message lists the choices.
    """
    if strength not in DEFENSES:
        raise ConfigError(f"unknown strength {strength!r}; choose one of {', '.join(DEFENSES)}")
    return DEFENSES[strength]


def open_session(
    network: PathLike | bytes, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Open an ONNX network for the CPU.

    Args:
        network: its file, or what that holds.
        threads: how many cores one run may use; all of them by default.

    Raises:
        WeightsError: the file is absent, not an ONNX network, or not all of it.
    """
    if isinstance(network, bytes):
        name, content = "the network given", network
    else:
        name, content = os.fspath(network), _content(Path(network))
    if _EXTERNAL in content:
        raise WeightsError(
            f"{name}: keeps weights in another file, which its SHA-256 would not tell; export it "
            "with external_data=False, or load and save it with onnx"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Otherwise the threads of the network that ran last would keep the next one from its cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # its warnings are about the exporter, not for the user
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _UNUSABLE as error:
        raise WeightsError(f"{name}: not a usable ONNX network: {error}") from error


def _content(network: Path) -> bytes:
    try:
        return network.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{network}: no such network ({error.strerror}); give the path of an ONNX file, or "
            "reinstall unmorph if this one is its own"
        ) from error


def run_session(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str] | None,
    feed: dict[str, NDArray[Any]],
    name: PathLike,
) -> list[Floats]:
    """Return what a network makes of its inputs; all its outputs where none are named.

    Raises:
        WeightsError: it cannot be run, or not on so little memory; the message calls it ``name``.
    """
    try:
        found: list[Floats] = session.run(outputs, feed)
    except _UNUSABLE as error:
        raise WeightsError(f"{name}: the network fails: {' '.join(str(error).split())}") from error
    return found


class _Network:
    """One ONNX file with named inputs and outputs."""

    inputs: Sequence[str]
    outputs: Sequence[str]

    def __init__(self, path: PathLike, threads: int | None = None) -> None:
        self.path = Path(path)
        self._session = open_session(path, threads)
        inputs = [node.name for node in self._session.get_inputs()]
        outputs = [node.name for node in self._session.get_outputs()]
        if inputs != list(self.inputs) or outputs != list(self.outputs):
            raise WeightsError(
                f"{path}: a network from {', '.join(inputs)} to {', '.join(outputs)}; expected one "
                f"from {', '.join(self.inputs)} to {', '.join(self.outputs)}"
            )
        taken = self._session.get_inputs()[0].shape
        if taken[1:] != [3, SIZE, SIZE]:
            raise WeightsError(
                f"{path}: a network for faces of the shape {taken}; expected (N, 3, {SIZE}, {SIZE})"
            )

    def _run(self, *arrays: NDArray[Any]) -> list[Floats]:
        """Return the outputs, each for the whole batch."""
        faces = arrays[0]
        if faces.ndim != 4 or faces.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(
                f"expected a batch of faces (N, 3, {SIZE}, {SIZE}), got {tuple(faces.shape)}"
            )
        results = []
        for start in range(0, max(len(faces), 1), _BATCH):
            chunk = slice(start, start + _BATCH)
            feed = {
                name: np.ascontiguousarray(array[chunk], dtype=np.float32)
                for name, array in zip(self.inputs, arrays, strict=True)
            }
            results.append(run_session(self._session, self.outputs, feed, self.path))
        return [np.concatenate(output) for output in zip(*results, strict=True)]


class FaceDefense(Protocol):
    """What protects faces; `OnnxDefense` is one."""

    @property
    def epsilon(self) -> float:
        """The most that a pixel may change, on the scale [-1, 1]."""

    def protect(self, faces: Floats, /) -> Floats:
        """Return faces (N, 3, 128, 128) protected."""


class OnnxDefense(_Network):
    """A perturbation generator: the learned defense.

    The file's metadata says how far a pixel may move (``epsilon``, on the scale [-1, 1]), after how
    many steps of how many faces it was exported (``budget``; older files do not), and of an
    ablation, ``without`` which term of the loss it was trained.

    Raises:
        WeightsError: the file is absent, damaged, or not a defense.
    """

    inputs = ("faces",)
    outputs = ("perturbation",)

    def __init__(self, path: PathLike, threads: int | None = None) -> None:
        super().__init__(path, threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            self.epsilon = float(metadata["epsilon"])
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{path}: its metadata names no epsilon; export it with `unmorph export`"
            ) from error
        self.without: str | None = metadata.get("without") or None
        self.budget: str | None = metadata.get("budget") or None

    def protect(self, faces: Floats) -> Floats:
        """Return the protected faces, within epsilon of ``faces`` and within [-1, 1]."""
        return bound(faces, faces + self._run(faces)[0], self.epsilon)


class _Editor(_Network):
    """An attribute-editing generator: StarGAN."""

    inputs = ("faces", "targets")
    edits = ATTRIBUTES

    def _edit(self, faces: Floats, targets: NDArray[Any]) -> list[Floats]:
        if targets.shape != (len(faces), len(self.edits)):
            raise ValueError(
                f"expected targets ({len(faces)}, {len(self.edits)}), got {tuple(targets.shape)}"
            )
        return self._run(faces, targets)


class OnnxDeepfake(_Editor):
    """An attribute-editing generator: StarGAN.

    Raises:
        WeightsError: the file is absent, damaged, or not such a network.
    """

    outputs = ("edited",)

    def edit(self, faces: Floats, targets: NDArray[Any]) -> Floats:
        """Return the faces edited to have the target labels, (N, 5) of 0 and 1."""
        return self._edit(faces, targets)[0]


class OnnxGradient(_Editor):
    """The same with its gradient (`unmorph.deepfakes.gradient`): twice the work.

    Raises:
        WeightsError: the file is absent, damaged, or not such a network.
    """

    outputs = ("edited", "gradient")

    def gradient(self, faces: Floats, targets: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return the edited faces, and the gradient of their distance from the faces (L_adv)."""
        edited, gradient = self._edit(faces, targets)
        return edited, gradient


class OnnxClassifier(_Network):
    """An attribute classifier: one labels photos that come without labels, another judges edits.

    Raises:
        WeightsError: the file is absent, damaged, or not such a network.
    """

    inputs = ("faces",)
    outputs = ("logits",)

    def logits(self, faces: Floats) -> Floats:
        """Return the network's own output (N, 5): positive where it sees the attribute."""
        return self._run(faces)[0]

    def labels(self, faces: Floats) -> Floats:
        """Return the labels, (N, 5) of 0 and 1: one hair colour or none, sex and age."""
        logits = self.logits(faces)
        labels = (logits > 0).astype(np.float32)
        # Hair colours exclude each other; four faces in ten of CelebA have none of the three.
        labels[:, :3] *= np.eye(3, dtype=np.float32)[logits[:, :3].argmax(axis=1)]
        return labels

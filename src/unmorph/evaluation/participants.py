"""Deepfakes, defenses, judges and labellers by the names that the command line uses."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmorph import deepfakes
from unmorph.attributes import edit_targets
from unmorph.bounds import bound
from unmorph.errors import ConfigError
from unmorph.evaluation.run import Deepfake, Subject
from unmorph.runtime import SHIPPED, SIZE, OnnxClassifier, OnnxDeepfake, OnnxDefense
from unmorph.weights.store import sha256

#: Defenses that go by a name; anything else is the path of an ONNX file.
DEFENSES = ("shipped", "none", "noise")

#: The networks that are part of the package.
SHIPPED_DEFENSE = SHIPPED / "defense-subtle.onnx"
SHIPPED_CLASSIFIER = SHIPPED / "attributes.onnx"


class UniformNoise:
    """The floor of every comparison: noise spread evenly over [-epsilon, epsilon].

    The same batch of faces always gets the same noise, so a resumed run equals an unbroken one.
    """

    def __init__(self, epsilon: float, seed: int) -> None:
        self.epsilon, self.seed = epsilon, seed

    def __call__(self, faces: Tensor) -> Tensor:
        """Return the faces with noise, within epsilon of ``faces`` and within [-1, 1]."""
        content = zlib.crc32(faces.cpu().numpy().tobytes())
        generator = torch.Generator().manual_seed(self.seed + (content << 31))
        noise = (torch.rand(faces.shape, generator=generator) * 2 - 1) * self.epsilon
        return bound(faces, faces + noise.to(faces.device), self.epsilon)


def _through_numpy(function: Callable[..., np.ndarray[Any, Any]]) -> Callable[..., Tensor]:
    """Let a numpy function take and return tensors, on the device of the first."""

    def call(*tensors: Tensor) -> Tensor:
        arrays = (tensor.cpu().numpy() for tensor in tensors)
        return torch.from_numpy(function(*arrays)).to(tensors[0].device)

    return call


class _OnnxDeepfake:
    """An ONNX deepfake that takes and returns tensors."""

    def __init__(self, path: Path) -> None:
        network = OnnxDeepfake(path)
        self.edits = network.edits
        self.size = SIZE
        self._edit = _through_numpy(network.edit)

    def targets(self, edit: str, labels: Tensor, /) -> Tensor:
        return edit_targets(labels, edit)

    def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
        if isinstance(edit, str):
            raise ConfigError(f"this deepfake takes target labels, not the edit name {edit!r}")
        return self._edit(faces, edit)


def _file(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": sha256(path)}


def open_deepfake(
    name: str, weights: Path | None = None, device: str = "cpu"
) -> tuple[Deepfake, dict[str, Any]]:
    """Open a deepfake: a registered name, or the path of an ONNX file.

    Returns:
        the deepfake, and what a record says about it.

    Raises:
        ConfigError: the name is unknown.
        WeightsError: its weights cannot be had.
    """
    if name.endswith(".onnx"):
        path = Path(name)
        network = _OnnxDeepfake(path)
        return network, {"name": path.stem, "edits": list(network.edits), **_file(path)}
    deepfake = deepfakes.load(name, weights=weights, device=device)
    about = {"name": name, "edits": list(deepfake.edits), "provenance": deepfake.provenance}
    return deepfake, about


def open_defense(
    name: str, *, epsilon: float = 0.05, seed: int = 0
) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Open a defense: a name in `DEFENSES`, or the path of an ONNX file.

    Args:
        epsilon: how far ``noise`` goes; a network knows its own.
        seed: of ``noise``.

    Returns:
        the defense, and what a record says about it.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        WeightsError: the file is absent or no defense.
    """
    if name == "none":
        return lambda faces: faces, {"name": name}
    if name == "noise":
        return UniformNoise(epsilon, seed), {"name": name, "epsilon": epsilon}
    if name != "shipped" and not name.endswith(".onnx"):
        raise ConfigError(
            f"unknown defense {name!r}; choose {', '.join(DEFENSES)}, or the path of an ONNX file"
        )
    path = SHIPPED_DEFENSE if name == "shipped" else Path(name)
    network = OnnxDefense(path)
    about = {"name": path.stem, "epsilon": network.epsilon, **_file(path)}
    return _through_numpy(network.protect), about


def open_labeller(path: Path = SHIPPED_CLASSIFIER) -> Callable[[Tensor], Tensor]:
    """Open the classifier that fills in present labels (N, 5) where a set has none.

    Raises:
        WeightsError: the file is absent or no classifier.
    """
    return _through_numpy(OnnxClassifier(path).labels)


def open_judge(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    """Open an attribute judge, a classifier that no deepfake and no defense was trained with.

    Returns:
        a face batch to logits (N, 5), and what a record says about it.

    Raises:
        WeightsError: the file is absent or no classifier.
    """
    return _through_numpy(OnnxClassifier(path).logits), _file(path)


def open_subject(
    deepfake: str,
    defense: str,
    *,
    weights: Path | None = None,
    judge: Path | None = None,
    epsilon: float = 0.05,
    seed: int = 0,
    device: str = "cpu",
) -> Subject:
    """Open everything that one run puts together; the arguments are those of the functions above.

    Raises:
        ConfigError: a name is unknown.
        WeightsError: a network cannot be had.
    """
    opened_deepfake, about_deepfake = open_deepfake(deepfake, weights, device)
    opened_defense, about_defense = open_defense(defense, epsilon=epsilon, seed=seed)
    opened_judge, about_judge = open_judge(judge) if judge else (None, None)
    about = {"deepfake": about_deepfake, "defense": about_defense, "judge": about_judge}
    return Subject(opened_deepfake, opened_defense, opened_judge, about)

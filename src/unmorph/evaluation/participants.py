"""Faces, deepfakes, defenses, judges and labellers by the names that the command line uses."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmorph import deepfakes, defenses
from unmorph.attributes import are_attributes, edit_targets
from unmorph.datasets.base import FaceDataset
from unmorph.datasets.named import load_named
from unmorph.datasets.subsets import narrowed
from unmorph.defenses import Defense
from unmorph.defenses.modes import Targeted
from unmorph.errors import ConfigError
from unmorph.evaluation import paper
from unmorph.evaluation.run import Deepfake, Labeller, Subject
from unmorph.layout import find_device
from unmorph.runtime import CLASSIFIER, SIZE, OnnxClassifier, OnnxDeepfake
from unmorph.weights.store import identity


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


def open_faces(
    name: str, path: Path, split: str, subsets: Sequence[str]
) -> tuple[FaceDataset, dict[str, Any]]:
    """Open a set of faces, or a part of it.

    Args:
        name: as `unmorph.datasets.named.load_named` takes it, like ``path`` and ``split``.
        subsets: as `unmorph.datasets.subsets.narrowed` takes them.

    Returns:
        The faces, and what a record says of which they are.
    """
    faces, called = narrowed(load_named(name, path, split), subsets)
    return faces, {
        "name": name,
        "split": split if name == "celeba" else None,
        "subset": called,
    }


def open_deepfake(
    name: str, weights: Path | None = None, device: str = "cpu", compiled: bool = False
) -> tuple[Deepfake, dict[str, Any]]:
    """Open a deepfake: a registered name, or the path of an ONNX file.

    Args:
        name: of the deepfake.
        weights: a file in place of its own weights.
        device: where torch runs it.
        compiled: whether torch compiles it when it is first called, once for each size of batch.

    Returns:
        the deepfake, and what a record says about it.

    Raises:
        ConfigError: the name is unknown, there is no such device, or an ONNX file is to take other
            weights or to be compiled.
        WeightsError: its weights cannot be had.
    """
    find_device(device)
    if name.endswith(".onnx"):
        if weights is not None:
            raise ConfigError(f"{name}: has weights of its own; leave out {weights}")
        if compiled:
            raise ConfigError(f"{name}: torch compiles registered deepfakes, no ONNX files")
        path = Path(name)
        network = _OnnxDeepfake(path)
        return network, {"name": path.stem, "edits": list(network.edits), **identity(path)}
    deepfake = deepfakes.load(name, weights=weights, device=device)
    if compiled:
        deepfake.compile(dynamic=False)
    about = {"name": name, "edits": list(deepfake.edits), **deepfake.provenance}
    return deepfake, about


def open_defense(
    name: str,
    deepfake: object = None,
    *,
    epsilon: float | None = None,
    seed: int = 0,
    options: Mapping[str, str] | None = None,
) -> tuple[Defense, dict[str, Any]]:
    """Open a defense: a registered name, or the path of an ONNX file.

    Args:
        deepfake: what it defends against; an ONNX one has no gradients to offer.
        epsilon: the most that a pixel may change; None: the paper's, or a network's own.
        seed: of whatever it draws at random.
        options: changes to a registered defense's options, as text.

    Returns:
        the defense, and what a record says about it: ``changed`` holds the options given.

    Raises:
        ConfigError: the name or an option is unknown; the message lists the choices. Or it has
            another epsilon than the one asked for.
        WeightsError: the file is absent or no defense.
    """
    if not name.endswith(".onnx"):
        known = deepfake if isinstance(deepfake, deepfakes.Deepfake) else None
        most = paper.EPSILON if epsilon is None else epsilon
        defense = defenses.load(name, known, epsilon=most, seed=seed, options=options)
        shown, changed = name, dict(options or {})
    elif options:
        raise ConfigError(f"{name}: a network takes no option {', '.join(options)}")
    else:
        defense, shown, changed = defenses.LearnedDefense(Path(name)), Path(name).stem, {}
    if epsilon not in (None, defense.epsilon):
        raise ConfigError(f"--epsilon: {name} has its own, which does not change")
    return defense, {"name": shown, "changed": changed, **defense.about()}


def open_labeller(path: Path = CLASSIFIER) -> Labeller:
    """Open the classifier that fills in present labels (N, 5) where a set has none.

    Raises:
        WeightsError: the file is absent or no classifier.
    """
    return Labeller(_through_numpy(OnnxClassifier(path).labels), identity(path))


def labeller_for(wanted: bool, given: Path | None) -> Labeller | None:
    """Open the labeller of a run, the shipped one or a given file, if it has a use for one.

    Raises:
        ConfigError: one is given to a run that has none.
        WeightsError: the file is absent or no classifier.
    """
    if wanted:
        return open_labeller(given or CLASSIFIER)
    if given is not None:
        raise ConfigError(
            f"--labeller {given}: these faces have labels of their own, or the edits need none; "
            "leave it out"
        )
    return None


def open_judge(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    """Open an attribute judge, a classifier that no deepfake and no defense was trained with.

    Returns:
        a face batch to logits (N, 5), and what a record says about it.

    Raises:
        WeightsError: the file is absent or no classifier.
    """
    return _through_numpy(OnnxClassifier(path).logits), identity(path)


def open_subject(
    deepfake: str,
    defense: str,
    *,
    weights: Path | None = None,
    judge: Path | None = None,
    epsilon: float | None = None,
    seed: int = 0,
    options: Mapping[str, str] | None = None,
    device: str = "cpu",
    compiled: bool = False,
) -> Subject:
    """Open everything that one run puts together.

    Args:
        judge: the classifier that judges edits; left out where they are no attributes. The
            other arguments are those of the functions above.

    Raises:
        ConfigError: a name is unknown, or the deepfake's faces are of a size that no judge takes.
        WeightsError: a network cannot be had.
    """
    opened_deepfake, about_deepfake = open_deepfake(deepfake, weights, device, compiled)
    opened_defense, about_defense = open_defense(
        defense, opened_deepfake, epsilon=epsilon, seed=seed, options=options
    )
    opened_judge, about_judge = None, None
    if judge is not None and are_attributes(opened_deepfake.edits):
        if opened_deepfake.size != SIZE:
            raise ConfigError(
                f"{deepfake}: edits faces of {opened_deepfake.size} pixels, and the classifiers "
                f"that read and judge their attributes take {SIZE}"
            )
        opened_judge, about_judge = open_judge(judge)
    about = {"deepfake": about_deepfake, "defense": about_defense, "judge": about_judge}
    return Subject(
        opened_deepfake,
        opened_defense.protect,
        opened_judge,
        about,
        compiled,
        _picture_of(opened_defense),
        _code_of(opened_deepfake, opened_defense),
    )


def _picture_of(defense: Defense) -> Callable[[Tensor], Tensor] | None:
    """Return what gives the picture that a targeted attack drives edits to, else None."""
    mode = getattr(defense, "mode", None)
    return mode.placed if isinstance(mode, Targeted) else None


def _code_of(*participants: object) -> str:
    """Hash the source files of what takes part and of what it inherits from, where they are ours.

    A registered deepfake or defense is known by its name and options; whoever writes one changes
    its code under the same name.
    """
    digest = hashlib.sha256()
    for participant in participants:
        for kind in type(participant).__mro__:
            if kind.__module__.partition(".")[0] in _OTHERS:
                continue
            with contextlib.suppress(OSError, TypeError):  # one from a prompt has no file
                digest.update(Path(inspect.getfile(kind)).read_bytes())
    return digest.hexdigest()


#: Packages whose code a record's versions tell.
_OTHERS = {"torch", "abc", "builtins"}

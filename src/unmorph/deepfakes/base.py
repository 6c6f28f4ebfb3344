"""What a deepfake is to everybody else, and the registry of those that unmorph defends against."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from unmorph.attributes import ATTRIBUTES, are_attributes
from unmorph.errors import ConfigError
from unmorph.registry import Registry


class Deepfake(nn.Module, ABC):
    """A frozen face editor: differentiable in its input, never trained.

    Attributes:
        name: its name in the registry.
        edits: names of the edits it offers.
        size: side in pixels of the faces it was trained on.
        provenance: where its weights come from, for a record: ``origin``, and ``file`` and
            ``sha256`` where they are in a file.
    """

    name: str
    edits: tuple[str, ...]
    size: int
    provenance: Mapping[str, str]

    @abstractmethod
    def targets(self, edit: str, labels: Tensor) -> Tensor:
        """Return what the network is told to make: ``edit`` applied to the present ``labels``.

        Args:
            edit: a name in `edits`.
            labels: the present ones as `read_labels` gives them, one row a face.

        Returns:
            one row a face, as `forward` takes them.

        Raises:
            ConfigError: the edit is unknown.
        """

    @abstractmethod
    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        """Run the network: faces (N, 3, H, W) in [-1,1] and targets to faces of the same shape.

        Targets are (N, K): K is the network's own, 5 where its edits are attributes.
        """

    def edit(self, faces: Tensor, edit: Tensor | str, labels: Tensor | None = None) -> Tensor:
        """Edit faces, either towards target labels or by the name of an edit.

        Args:
            faces: (N, 3, H, W) in [-1,1].
            edit: targets (N, K), or a name in `edits`.
            labels: the present labels that a named edit starts from, (N, 5) of 0 and 1; without
                them they are read off the faces.

        Returns:
            the edited faces, (N, 3, H, W) in [-1,1].

        Raises:
            ConfigError: the edit is unknown; the message lists the choices.
        """
        if isinstance(edit, Tensor):
            targets = edit
        else:
            self.position(edit)  # refuses an unknown one before labels are read
            targets = self.targets(edit, self.read_labels(faces) if labels is None else labels)
        edited: Tensor = self(faces, targets)
        return edited

    def position(self, edit: str) -> int:
        """Return the place of an edit in `edits`.

        Raises:
            ConfigError: the edit is unknown; the message lists the choices.
        """
        if edit not in self.edits:
            raise ConfigError(f"unknown edit {edit!r}; choose one of {', '.join(self.edits)}")
        return self.edits.index(edit)

    def read_labels(self, faces: Tensor) -> Tensor:
        """Return the present labels that the shipped classifier sees, (N, 5) of 0 and 1.

        Where the edits are no attributes they start from no label: then it is (N, 0).
        """
        if not are_attributes(self.edits):
            return faces.new_zeros(len(faces), 0)
        from unmorph.runtime import CLASSIFIER, OnnxClassifier

        classifier = OnnxClassifier(CLASSIFIER)
        labels = torch.from_numpy(classifier.labels(faces.detach().cpu().numpy()))
        return labels.to(faces.device)

    def freeze(self) -> None:
        """Make sure that no training of a defense changes the deepfake."""
        self.eval().requires_grad_(False)


class NetworkDeepfake(Deepfake, ABC):
    """A deepfake that is one network of faces and targets.

    Args:
        generator: the trained network.
        provenance: where its weights come from (`Deepfake`).
    """

    def __init__(self, generator: nn.Module, provenance: Mapping[str, str]) -> None:
        super().__init__()
        self.generator = generator
        self.provenance = provenance

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        """Edit faces (N, 3, H, W) in [-1,1] towards targets (N, K)."""
        edited: Tensor = self.generator(faces, targets)
        return edited


Loader = Callable[[Path | None], Deepfake]

_LOADERS: Registry[Loader] = Registry("deepfake")


def register(name: str) -> Callable[[Loader], Loader]:
    """Register a function that builds a deepfake from a weights file (None: the shipped ones).

    Raises:
        ConfigError: the name is taken.
    """
    return _LOADERS.register(name)


def names() -> tuple[str, ...]:
    """Return the names of all deepfakes, sorted."""
    return _LOADERS.names()


def load(
    name: str, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu"
) -> Deepfake:
    """Load a deepfake, frozen.

    Args:
        name: one of `names`.
        weights: a file in place of the deepfake's own weights.
        device: where it runs.

    Raises:
        ConfigError: the name is unknown; the message lists the choices. Or some of its edits are
            attributes and others are none.
        WeightsError: its weights cannot be had.
    """
    deepfake = _LOADERS[name](None if weights is None else Path(weights))
    if (others := set(deepfake.edits) - set(ATTRIBUTES)) and others != set(deepfake.edits):
        raise ConfigError(
            f"deepfake {name!r}: its edits are names of ATTRIBUTES, all of them or none; "
            f"{', '.join(sorted(others))} are not"
        )
    if weights is not None:
        deepfake.provenance = {**deepfake.provenance, "origin": "given file"}
    deepfake.name = name
    deepfake.freeze()
    return deepfake.to(device)

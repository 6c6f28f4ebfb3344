"""What a defense is to everybody else, and the registry of those that compare with each other."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unmorph.bounds import bound
from unmorph.deepfakes.base import Deepfake
from unmorph.errors import ConfigError
from unmorph.registry import Registry


@dataclass(frozen=True)
class Options:
    """The options of a defense that has none; others add fields of int, float, bool or str."""


class Defense(nn.Module, ABC):
    """Adds a perturbation to faces; the base class alone enforces its limits.

    Args:
        epsilon: the most that a pixel may change, on the scale [-1,1] (the paper: 0.05).
    """

    #: Those that it was built with by its registered name.
    options: Options

    def __init__(self, epsilon: float = 0.05) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.options = Options()

    @abstractmethod
    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the faces with the perturbation added; `protect` bounds it."""

    def bounded(self, faces: Tensor, protected: Tensor) -> Tensor:
        """Return ``protected`` moved to within epsilon of ``faces`` and within [-1,1]."""
        return bound(faces, protected, self.epsilon)

    def protect(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return x_adv: protected faces within epsilon of ``faces`` and within [-1,1].

        Args:
            faces: (N, 3, H, W) in [-1,1].
            labels: the present labels (N, 5) of 0 and 1, for defenses that run the deepfake's
                edits; without them such a defense reads the labels off the faces itself.
        """
        return self.bounded(faces, self.perturbed(faces, labels))

    def about(self) -> dict[str, Any]:
        """Return what a record says of the defense beside its name: epsilon, and its options."""
        options = asdict(self.options)
        return {"epsilon": self.epsilon, **({"options": options} if options else {})}


#: Builds a defense from the deepfake it is against (None where that has no gradients), its
#: options, epsilon and the seed of its randomness.
Builder = Callable[[Deepfake | None, Any, float, int], Defense]

_BUILDERS: Registry[tuple[Builder, Options]] = Registry("defense")


_B = TypeVar("_B", bound=Builder)


def register(name: str, options: Options) -> Callable[[_B], _B]:
    """Register a defense under a name, with the options that it has by that name.

    Raises:
        ConfigError: the name is taken.
    """

    def add(builder: _B) -> _B:
        _BUILDERS.register(name)((builder, options))
        return builder

    return add


def names() -> tuple[str, ...]:
    """Return the names of all defenses, sorted."""
    return _BUILDERS.names()


def load(
    name: str,
    deepfake: Deepfake | None = None,
    *,
    epsilon: float = 0.05,
    seed: int = 0,
    options: Mapping[str, str] | None = None,
) -> Defense:
    """Build a defense.

    Args:
        name: one of `names`.
        deepfake: what it defends against; learned defenses and floors do without.
        epsilon: the most that a pixel may change; a trained network knows its own.
        seed: of whatever the defense draws at random.
        options: changes to its options, as text.

    Raises:
        ConfigError: the name or an option is unknown or out of range, or a deepfake is needed.
        WeightsError: its weights cannot be had.
    """
    builder, preset = _BUILDERS[name]
    chosen = _changed(name, preset, options or {})
    defense = builder(deepfake, chosen, epsilon, seed)
    defense.options = chosen
    return defense


def _changed(name: str, preset: Options, changes: Mapping[str, str]) -> Options:
    defaults = {field.name: getattr(preset, field.name) for field in fields(preset)}
    chosen = {}
    for key, text in changes.items():
        if key not in defaults:
            choices = f"choose from {', '.join(defaults)}" if defaults else "it has none"
            raise ConfigError(f"defense {name!r} has no option {key!r}; {choices}")
        kind = type(defaults[key])
        try:
            chosen[key] = value = _TRUTH[text.lower()] if kind is bool else kind(text)
            if kind is float and not math.isfinite(value):
                raise ValueError(value)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"option {key}={text}: expected {_KINDS[kind]}") from error
    return replace(preset, **chosen)


_TRUTH = {"true": True, "false": False}

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def uniform_noise(faces: Tensor, epsilon: float, seed: int) -> Tensor:
    """Return noise spread evenly over [-epsilon, epsilon], of the shape of ``faces``.

    Each face's noise depends on its own pixels and the seed alone: another batch size, another
    device or a resumed run changes nothing.
    """
    drawn = []
    for face in faces.detach().cpu():
        # torch's generator keeps only 32 bits of a seed: both must be mixed into those.
        mixed = zlib.crc32(face.contiguous().numpy().tobytes(), zlib.crc32(str(seed).encode()))
        generator = torch.Generator().manual_seed(mixed)
        drawn.append(torch.rand(face.shape, generator=generator) * 2 - 1)
    return torch.stack(drawn).to(faces.device) * epsilon

"""The learned defense from its ONNX file, alone or as the start of a few gradient steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmorph.deepfakes.base import Deepfake
from unmorph.defenses.base import Builder, Defense, Options, register
from unmorph.defenses.restricted import RestrictedOptions, RestrictedPGD
from unmorph.errors import ConfigError
from unmorph.refining import AIMS, MASKING, MOMENTUM
from unmorph.runtime import DEFENSES, FRAMED, OnnxDefense
from unmorph.weights.store import identity


class LearnedDefense(Defense):
    """A perturbation generator under ONNX Runtime, as `unmorph protect` runs it.

    Args:
        path: the ONNX file, which knows its epsilon.

    Raises:
        WeightsError: the file is absent or no defense.
    """

    def __init__(self, path: Path) -> None:
        network = OnnxDefense(path)
        super().__init__(network.epsilon)
        self.network = network

    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return x + P(x) (equation 2)."""
        protected = self.network.protect(faces.cpu().numpy())
        return torch.from_numpy(protected).to(faces.device)

    def about(self) -> dict[str, Any]:
        """Return what a record says: epsilon, which file it is, how and how long it was trained."""
        network = self.network
        about = {**super().about(), **identity(network.path), "without": network.without}
        return {**about, "budget": network.budget} if network.budget else about


def _generator(weights: str) -> LearnedDefense:
    """Return a shipped generator by its strength or as ``framed``, or that of an ONNX file."""
    shipped = {**DEFENSES, "framed": FRAMED}
    if weights not in shipped and not weights.endswith(".onnx"):
        choices = ", ".join(shipped)
        raise ConfigError(f"unknown weights {weights!r}; choose one of {choices}, or an ONNX file")
    return LearnedDefense(shipped.get(weights) or Path(weights))


def _shipped(weights: str) -> Builder:
    def build(
        deepfake: Deepfake | None, options: Options, epsilon: float, seed: int
    ) -> LearnedDefense:
        return _generator(weights)

    return build


register("shipped", Options())(_shipped("subtle"))
register("shipped-strong", Options())(_shipped("strong"))
register("shipped-framed", Options())(_shipped("framed"))


@dataclass(frozen=True)
class RefineOptions(RestrictedOptions):
    """Options of the refinement.

    Attributes:
        weights: the generator's ONNX file, or the strength of a shipped one, or ``framed``.
    """

    decay: float = MOMENTUM
    relative: bool = True
    masking: float = MASKING
    weights: str = "subtle"


def _preset(strength: str, steps: int) -> RefineOptions:
    aim = AIMS[strength]
    return RefineOptions(
        steps=steps,
        step_size=aim.stride(steps),
        psnr=aim.psnr,
        channels=",".join(aim.channels),
        smooth=aim.smooth,
        weights=strength,
    )


@register("refine-20-strong", _preset("strong", 20))
@register("refine-10", _preset("subtle", 10))
@register("refine-5", _preset("subtle", 5))
class Refine(RestrictedPGD):
    """`unmorph.refining` against any differentiable deepfake, with the labels that are given.

    Its steps go through the deepfake that it is evaluated against; those of `unmorph protect` go
    through the shipped StarGAN, whatever an attacker uses.

    The generator knows its own epsilon; another one does not matter.

    Raises:
        ConfigError: as `unmorph.defenses.iterative.IterativeDefense`.
        WeightsError: the generator cannot be had.
    """

    def __init__(
        self, deepfake: Deepfake | None, options: RefineOptions, epsilon: float, seed: int
    ) -> None:
        generator = _generator(options.weights)
        super().__init__(deepfake, options, generator.epsilon, seed)
        self.generator = generator

    def start(self, faces: Tensor) -> Tensor:
        """Return the faces as the generator protects them."""
        return self.generator.protect(faces)

    def about(self) -> dict[str, Any]:
        """Return what a record says: the options, and which generator starts."""
        return {**super().about(), "generator": self.generator.about()}

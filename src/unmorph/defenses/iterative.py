"""The one loop of all iterative attacks on a deepfake; they differ in a few hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmorph.channels.differentiable import DifferentiableChannel
from unmorph.deepfakes.base import Deepfake
from unmorph.defenses.base import Defense, Options, uniform_noise
from unmorph.defenses.modes import make_mode
from unmorph.errors import ConfigError
from unmorph.layout import autocast
from unmorph.objectives import relative_weight

#: Step size over the run, by name: the share of it at ``step`` of ``steps``.
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 1.0,
    "linear": lambda step, steps: 1 - step / steps,
}


class _Goal(NamedTuple):
    """One edit, where its output is driven, and what its loss counts on each face."""

    edit: Callable[[Tensor], Tensor]
    target: Tensor
    weights: Tensor | float


@dataclass(frozen=True)
class AttackOptions(Options):
    """What all iterative attacks share.

    Attributes:
        steps: gradient steps.
        step_size: how far a pixel moves in the first step, on [-1,1].
        schedule: ``constant``, or ``linear`` (down to zero).
        mode: what the attack is after (`unmorph.defenses.modes`).
        picture: the photo that mode ``targeted`` drives the output to: a path, or ``portrait`` for
            the bundled one.
        edits_per_step: how many of the deepfake's edits a step looks at, all in turn; 0: all at
            once, as in the paper.
        relative: whether an edit's loss on a face is divided by how far the edit moves it
            unprotected, plus 0.01: subtle edits then weigh nearly as much as strong ones, down to
            those that move less than that.
        channels: names from `unmorph.channels`, with commas between; each edit of a step sees the
            face through another, and all in turn (expectation over transformations, Athalye et al.
            2018). Empty: as it is.
        precision: ``fp32``, or ``bf16`` for gradients in half the time where the processor has it.
    """

    steps: int = 100
    step_size: float = 0.005
    schedule: str = "linear"
    mode: str = "retain"
    picture: str = ""
    edits_per_step: int = 0
    relative: bool = False
    channels: str = ""
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.step_size <= 0 or self.edits_per_step < 0:
            raise ConfigError("an attack needs steps >= 1, step_size > 0 and edits_per_step >= 0")
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"unknown schedule {self.schedule!r}; choose one of {', '.join(SCHEDULES)}"
            )
        if self.channels and self.mode != "retain":
            raise ConfigError(
                f"channels go with mode retain: what mode {self.mode} is after does not pass them"
            )
        if self.precision not in ("fp32", "bf16"):
            raise ConfigError(f"unknown precision {self.precision!r}; choose fp32 or bf16")


class IterativeDefense(Defense):
    """Searches for each photo's perturbation by gradient steps through the deepfake.

    As it stands it is I-FGSM; others override `start`, `velocity` and `direction`.

    Args:
        deepfake: what it defends against, differentiable.
        options: of the attack.
        epsilon: the most that a pixel may change, on [-1,1].
        seed: of whatever is drawn at random.

    Raises:
        ConfigError: there is no differentiable deepfake, or the mode is unknown.
    """

    options: AttackOptions

    def __init__(
        self, deepfake: Deepfake | None, options: AttackOptions, epsilon: float, seed: int
    ) -> None:
        super().__init__(epsilon)
        if deepfake is None:
            raise ConfigError(
                "this defense follows the deepfake's gradients: name a registered deepfake, and "
                "give an ONNX file as its weights"
            )
        self.deepfake, self.options, self.seed = deepfake, options, seed
        self.mode = make_mode(options.mode, options.picture)
        self.channels = [
            DifferentiableChannel(name) for name in options.channels.split(",") if name
        ]

    def about(self) -> dict[str, Any]:
        """Return what a record says: epsilon, options, and which picture is the target."""
        return {**super().about(), **self.mode.about()}

    def start(self, faces: Tensor) -> Tensor:
        """Return where the search starts (hook)."""
        return faces

    def velocity(self, gradient: Tensor, previous: Tensor | None) -> Tensor:
        """Return what a step follows, downhill (hook).

        Args:
            gradient: of the loss, at the present step.
            previous: what this hook returned one step earlier; None at first.
        """
        return gradient

    def shares(self, faces: Tensor) -> Tensor | float:
        """Return the share of every step that each pixel of the faces takes (hook)."""
        return 1.0

    def direction(self, velocity: Tensor, shares: Tensor | float) -> Tensor:
        """Return the step that ``velocity`` asks for, before the step size: its sign (hook)."""
        return shares * velocity.sign()

    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the faces after the last step."""
        options = self.options
        if labels is None:
            labels = self.deepfake.read_labels(faces)
        goals = []
        for name in self.deepfake.edits:
            edit = self._towards(self.deepfake.targets(name, labels))
            weights = self._weights(faces, edit) if options.relative else 1.0
            goals.append(_Goal(edit, self.mode.target(faces, edit), weights))
        protected = self.start(faces)
        if self.mode.stationary:
            protected = protected + options.step_size * uniform_noise(faces, 1, self.seed).sign()
        count = options.edits_per_step or len(goals)
        velocity: Tensor | None = None
        shares = self.shares(faces)
        for step in range(options.steps):
            chosen = [goals[(step * count + i) % len(goals)] for i in range(count)]
            protected = self.bounded(faces, protected)
            velocity = self.velocity(self._gradient(protected, chosen, step), velocity)
            share = SCHEDULES[options.schedule](step, options.steps)
            protected = protected - share * options.step_size * self.direction(velocity, shares)
        return protected

    def _towards(self, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """Return G with its target labels."""
        return lambda faces: self.deepfake(faces, targets)

    @torch.no_grad()
    def _weights(self, faces: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        return relative_weight(faces, edit(faces))

    @torch.enable_grad()
    def _gradient(self, protected: Tensor, goals: Sequence[_Goal], step: int) -> Tensor:
        """Return the gradient of the loss over some edits, one edit's graph after the other."""
        protected = protected.detach().requires_grad_()
        total = torch.zeros_like(protected)
        for place, goal in enumerate(goals):
            arrived = self._sent(protected, step + place)
            with autocast(self.options.precision, arrived.device.type):
                edited = goal.edit(arrived)
            loss = self.mode.loss(goal.target, arrived, edited.float()) * goal.weights
            total += torch.autograd.grad(loss.sum(), protected)[0]
        return total

    def _sent(self, protected: Tensor, turn: int) -> Tensor:
        """Return the protected faces after the channel whose turn it is."""
        if not self.channels:
            return protected
        # The same seed for every face, so that a face's result does not depend on its batch.
        return self.channels[turn % len(self.channels)](protected, [turn] * len(protected))

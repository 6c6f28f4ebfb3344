"""MI-FGSM (Dong et al. 2018): I-FGSM that keeps going where it went."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmorph.deepfakes.base import Deepfake
from unmorph.defenses.base import register
from unmorph.defenses.iterative import AttackOptions, IterativeDefense


@dataclass(frozen=True)
class MomentumOptions(AttackOptions):
    """Options of MI-FGSM.

    Attributes:
        decay: how much of the momentum a step keeps (mu of Dong et al.).
    """

    decay: float = 1.0


@register("mi-fgsm", MomentumOptions(step_size=0.001, schedule="constant"))
class MIFGSM(IterativeDefense):
    """Steps along a decaying sum of gradients, each of norm 1; others override `norm`."""

    def __init__(
        self, deepfake: Deepfake | None, options: MomentumOptions, epsilon: float, seed: int
    ) -> None:
        super().__init__(deepfake, options, epsilon, seed)
        self.decay = options.decay

    def norm(self, values: Tensor) -> Tensor:
        """Return the size of each (3, H, W), as (N, 1, 1, 1): its L1 norm (hook)."""
        return values.abs().sum(dim=(1, 2, 3), keepdim=True)

    def velocity(self, gradient: Tensor, previous: Tensor | None) -> Tensor:
        """Return the momentum with the present gradient added (equation 6 of Dong et al.)."""
        # A gradient of zeros has no direction to add.
        unit = gradient / self.norm(gradient).clamp_min(1e-30)
        return unit if previous is None else self.decay * previous + unit

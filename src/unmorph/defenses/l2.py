"""PGD within a ball of the L2 norm (Madry et al. 2018): the best perturbation of a given PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmorph.deepfakes.base import Deepfake
from unmorph.defenses.base import register, uniform_noise
from unmorph.defenses.mifgsm import MIFGSM, MomentumOptions
from unmorph.errors import ConfigError
from unmorph.masking import masking


@dataclass(frozen=True)
class L2Options(MomentumOptions):
    """Options of PGD in L2; ``step_size`` is the root mean square over the pixels.

    Attributes:
        psnr: the least that a protected face keeps, in dB.
        masking: how much less a step moves what would show (`unmorph.masking`); 0: no less.
    """

    decay: float = 0.6
    psnr: float = 40.4
    masking: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.psnr > 0 and 0 <= self.decay < 1 and self.masking >= 0):
            raise ConfigError("PGD in L2 needs psnr > 0, decay from 0 to below 1 and masking >= 0")


@register("pgd-l2", L2Options(steps=20, relative=True))
class L2PGD(MIFGSM):
    """MI-FGSM without the signs, within a PSNR of the face beside epsilon."""

    def __init__(
        self, deepfake: Deepfake | None, options: L2Options, epsilon: float, seed: int
    ) -> None:
        super().__init__(deepfake, options, epsilon, seed)
        self.radius = math.sqrt(4 / 10 ** (options.psnr / 10))
        self.masking = options.masking

    def start(self, faces: Tensor) -> Tensor:
        """Return the faces with noise of a twentieth of the radius."""
        return faces + uniform_noise(faces, self.radius / 20, self.seed)

    def norm(self, values: Tensor) -> Tensor:
        """Return the root mean square of each (3, H, W), as (N, 1, 1, 1)."""
        return values.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()

    def shares(self, faces: Tensor) -> Tensor | float:
        """Return less where a step would show."""
        if not self.masking:
            return 1.0
        return torch.from_numpy(masking(faces.cpu().numpy(), self.masking)).to(faces.device)

    def direction(self, velocity: Tensor, shares: Tensor | float) -> Tensor:
        """Return ``velocity`` shared out among the pixels, of the same size."""
        direction = shares * velocity
        return self.norm(velocity) / self.norm(direction).clamp_min(1e-30) * direction

    def bounded(self, faces: Tensor, protected: Tensor) -> Tensor:
        """Return ``protected`` moved to within epsilon and within the ball about ``faces``."""
        perturbation = super().bounded(faces, protected) - faces
        shrunk = (self.radius / self.norm(perturbation).clamp_min(1e-30)).clamp_max(1)
        return faces + shrunk * perturbation

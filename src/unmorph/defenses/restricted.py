"""PGD in L2 through channels, of brightness, colour or low frequencies: what survives where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmorph.channels import EXPECTED
from unmorph.channels.backward import YCBCR
from unmorph.deepfakes.base import Deepfake
from unmorph.defenses.base import register
from unmorph.defenses.l2 import L2PGD, L2Options
from unmorph.errors import ConfigError
from unmorph.resampling import gaussian

#: The shares of red, green and blue in brightness, as JPEG has them.
_LUMA = torch.tensor(YCBCR[0], dtype=torch.float32).view(1, 3, 1, 1)

#: The largest `RestrictedOptions.smooth`; a face has 128 pixels.
_SMOOTHEST = 16.0


def _colour(values: Tensor) -> Tensor:
    """Return (N, 3, H, W) without what would change brightness."""
    luma = _LUMA.to(values)
    return values - (luma * values).sum(1, keepdim=True) / luma.square().sum() * luma


#: The nearest perturbation that changes these planes alone, by name.
_PLANES: dict[str, Callable[[Tensor], Tensor]] = {
    "all": lambda values: values,
    "luma": lambda values: values.mean(1, keepdim=True).expand_as(values),
    "chroma": _colour,
}


@dataclass(frozen=True)
class RestrictedOptions(L2Options):
    """Options of restricted PGD in L2.

    Attributes:
        planes: what may change: ``all``, ``luma`` (brightness alone) or ``chroma`` (colour alone),
            as JPEG tells them apart.
        smooth: standard deviation in pixels of the Gaussian that each step goes through, which
            leaves it low frequencies; 0: none.
    """

    planes: str = "all"
    smooth: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.planes not in _PLANES:
            raise ConfigError(f"unknown planes {self.planes!r}; choose one of {', '.join(_PLANES)}")
        if not 0 <= self.smooth <= _SMOOTHEST:
            raise ConfigError(f"restricted PGD needs smooth from 0 to {_SMOOTHEST:g} pixels")


#: PGD in L2 through channels, each look through another (EOT, Athalye et al. 2018).
_EOT = RestrictedOptions(steps=36, relative=True, psnr=37.0, channels=",".join(EXPECTED))


@register("pgd-l2-restricted", _EOT)
@register("pgd-l2-eot", replace(_EOT, smooth=1.0))
class RestrictedPGD(L2PGD):
    """`L2PGD` that stays in some planes and frequencies, but for what epsilon cuts off."""

    def __init__(
        self, deepfake: Deepfake | None, options: RestrictedOptions, epsilon: float, seed: int
    ) -> None:
        super().__init__(deepfake, options, epsilon, seed)
        self.planes, self.smooth = options.planes, options.smooth

    def allowed(self, values: Tensor) -> Tensor:
        """Return what of a perturbation (N, 3, H, W) the options leave."""
        values = _PLANES[self.planes](values)
        if not self.smooth:
            return values
        rows, columns = (
            torch.tensor(gaussian(side, self.smooth)).to(values) for side in values.shape[2:]
        )
        return rows @ values @ columns.T

    def start(self, faces: Tensor) -> Tensor:
        """Return the faces with what is allowed of that noise."""
        return faces + self.allowed(super().start(faces) - faces)

    def direction(self, velocity: Tensor, shares: Tensor | float) -> Tensor:
        """Return what is allowed of the step, of the same size."""
        direction = self.allowed(super().direction(velocity, shares))
        return self.norm(velocity) / self.norm(direction).clamp_min(1e-30) * direction

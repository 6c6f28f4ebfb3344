"""What a defense is to everybody else."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from unmorph.bounds import bound


class Defense(nn.Module, ABC):
    """Adds a perturbation to faces; the base class alone enforces its limits.

    Args:
        epsilon: the most that a pixel may change, on the scale [-1,1] (the paper: 0.05).
    """

    def __init__(self, epsilon: float = 0.05) -> None:
        super().__init__()
        self.epsilon = epsilon

    @abstractmethod
    def perturbed(self, faces: Tensor) -> Tensor:
        """Return the faces with the perturbation added; `protect` bounds it."""

    def protect(self, faces: Tensor) -> Tensor:
        """Return x_adv: protected faces within epsilon of ``faces`` and within [-1,1].

        Args:
            faces: (N, 3, H, W) in [-1,1].
        """
        return bound(faces, self.perturbed(faces), self.epsilon)

"""What every defense must beat: doing nothing, and noise that knows nothing."""

from __future__ import annotations

from torch import Tensor

from unmorph.deepfakes.base import Deepfake
from unmorph.defenses.base import Defense, Options, register, uniform_noise


@register("none", Options())
class NoDefense(Defense):
    """Leaves faces as they are."""

    def __init__(
        self, deepfake: Deepfake | None, options: Options, epsilon: float, seed: int
    ) -> None:
        super().__init__(epsilon=0.0)

    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the faces."""
        return faces


@register("noise", Options())
class UniformNoise(Defense):
    """Noise spread evenly over [-epsilon, epsilon]."""

    def __init__(
        self, deepfake: Deepfake | None, options: Options, epsilon: float, seed: int
    ) -> None:
        super().__init__(epsilon)
        self.seed = seed

    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the faces with noise."""
        return faces + uniform_noise(faces, self.epsilon, self.seed)

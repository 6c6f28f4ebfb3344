"""The learned defense: a U-Net that makes the perturbation in one forward pass (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from unmorph.defenses.base import Defense
from unmorph.errors import WeightsError
from unmorph.resampling import gaussian
from unmorph.runtime import SIZE, OnnxDefense
from unmorph.weights.tensors import differences, load_exported, read_tensors


class _Level(nn.Module):
    """One level of the U-Net: down, whatever lies below, up; joined with its own input.

    Maps (N, outer, H, W) to (N, 2 * outer, H, W): the input beside what came up.
    """

    def __init__(self, outer: int, inner: int, below: _Level | None) -> None:
        super().__init__()
        down: list[nn.Module] = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, 2, 1, bias=False)]
        if below is not None:  # at 1x1 there is nothing to normalise over in a single face
            down.append(nn.BatchNorm2d(inner))
        self.down = nn.Sequential(*down)
        self.below = below
        self.up = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(inner if below is None else 2 * inner, outer, 4, 2, 1, bias=False),
            nn.BatchNorm2d(outer),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        if self.below is not None:
            y = self.below(y)
        return torch.cat([x, self.up(y)], dim=1)


class PerturbationGenerator(Defense):
    """P, a U-Net-128 of the pix2pix family (Isola et al. 2017): 7 levels of 4x4 stride-2
    convolutions with skip connections, 128x128 down to 1x1 and back.

    The output is ``epsilon * tanh(.)``, so ``|P(x)| <= epsilon`` by construction
    (equal only where float32 rounds the tangent to 1). What filters after it add, `bounded` cuts
    off.

    Args:
        width: channels of the first level; the next have 2, 4, then 8 times as many. The paper
            gives none; the pix2pix network has 64.
        epsilon: bound of the perturbation on the scale [-1,1].
        max_width: the most channels of any level; None: as many as it asks for. Nearly all weights
            lie in the deep levels, nearly all the work in the first.
        smooth: standard deviation in pixels of the Gaussian that the perturbation goes through
            last, which leaves it low frequencies; 0: none. Not in the paper.
        detail: standard deviation in pixels of another, whose part is then taken away: casts of
            colour show, and a deepfake is hardly stopped by them; 0: none. Not in the paper.
    """

    #: The Gaussians as matrices that blur each row and column. Their names have no dot, by which
    #: `unmorph.weights.tensors` tells that they are not learned.
    blur: Tensor
    coarse: Tensor

    def __init__(
        self,
        width: int = 64,
        epsilon: float = 0.05,
        max_width: int | None = None,
        smooth: float = 0.0,
        detail: float = 0.0,
    ) -> None:
        super().__init__(epsilon)
        self.width = width
        most = 8 * width if max_width is None else max_width
        channels = [min(width * factor, most) for factor in (1, 2, 4, 8, 8, 8, 8)]
        levels = _Level(channels[-2], channels[-1], None)
        for outer, inner in reversed(list(pairwise(channels[:-1]))):
            levels = _Level(outer, inner, levels)
        self.first = nn.Conv2d(3, channels[0], 4, 2, 1)
        self.levels = levels
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * channels[0], 3, 4, 2, 1))
        self.smooth = smooth
        if smooth:
            self.register_buffer("blur", torch.tensor(gaussian(SIZE, smooth)), persistent=False)
        self.take_casts_(detail)

    @classmethod
    def from_export(cls, path: Path) -> PerturbationGenerator:
        """Build the network of an exported defense again, in evaluation mode.

        Args:
            path: the ONNX file of one without filters.

        Raises:
            WeightsError: the file is no export of such a network, or filters its perturbation.
        """
        exported, weights = OnnxDefense(path), read_tensors(path)
        try:
            width = len(weights["first.weight"])
            deepest = max(len(v) for name, v in weights.items() if ".down.1." in name)
            network = cls(width, exported.epsilon, min(deepest, 8 * width)).eval()
            load_exported(network, weights)
        except (KeyError, ValueError, WeightsError) as error:
            raise WeightsError(f"{path}: not an exported perturbation generator") from error
        faces = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            difference = network.protect(faces) - torch.from_numpy(exported.protect(faces.numpy()))
        if difference.abs().max() > 1e-4:
            raise WeightsError(f"{path}: filters its perturbation; export it from its checkpoint")
        return network

    def forward(self, faces: Tensor) -> Tensor:
        """Return the perturbation P(x), (N, 3, 128, 128), within epsilon but for its filters."""
        x = self.last(self.levels(self.first(faces)))
        perturbation: Tensor = self.epsilon * torch.tanh(x)
        if self.smooth:
            perturbation = self.blur @ perturbation @ self.blur.T
        if self.detail:
            perturbation = perturbation - self.coarse @ perturbation @ self.coarse.T
        return perturbation

    def take_casts_(self, detail: float) -> None:
        """Take away from now on what a Gaussian of so many pixels leaves; 0: nothing."""
        self.detail = detail
        coarse = torch.tensor(gaussian(SIZE, detail)) if detail else None
        self.register_buffer("coarse", coarse, persistent=False)

    @torch.no_grad()
    def amplify_(self, factor: float) -> None:
        """Multiply the perturbation, as far as its tanh is still linear."""
        for parameter in self.last.parameters():
            parameter.mul_(factor)

    def load_mean_(self, paths: Sequence[Path], own: bool = False) -> None:
        """Take the mean of several runs' weights: a soup (Wortsman et al. 2022).

        Args:
            paths: exported defenses that went on from one another or from one start; one that
                is given twice weighs twice.
            own: whether the network's own weights are one more of them.

        Raises:
            WeightsError: a file is no defense of this size; nothing has changed.
        """
        kept = {name: v for name, v in self.state_dict().items() if v.is_floating_point()}
        runs = [kept] if own else []
        for path in paths:
            weights = read_tensors(path)
            if wrong := differences(kept, weights):
                what = f"an exported defense of width {self.width}"
                raise WeightsError(f"{path}: not {what}: {wrong}")
            runs.append(weights)
        mean = {name: torch.stack([run[name] for run in runs]).mean(0) for name in kept}
        # An export does not say how many batches the statistics were gathered over.
        self.load_state_dict(mean, strict=False)

    def perturbed(self, faces: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return x + P(x) (equation 2); the network needs no labels."""
        protected: Tensor = faces + self(faces)
        return protected

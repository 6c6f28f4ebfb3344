"""The channels on face batches, with gradients: what a defense is trained through.

Each kind of `unmorph.channels.codecs` has its form here and draws the same random numbers, so a
face comes out much as the real channel leaves it: at 44 dB or closer, as Pillow samples crops and
blurs a little otherwise. Rounding to whole levels passes gradients straight through (Bengio et al.
2013), and so do the codecs that only Pillow has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmorph.channels import codecs
from unmorph.channels.backward import YCBCR
from unmorph.channels.batches import send
from unmorph.levels import LEVELS
from unmorph.registry import Registry

Randoms = Sequence[np.random.Generator]
Step = Callable[[Tensor, float, Randoms], Tensor]

STEPS: Registry[Step] = Registry("differentiable channel")


class DifferentiableChannel:
    """A face batch's way through one or more steps.

    Args:
        name: as `unmorph.channels.codecs.parse` reads it.

    Raises:
        ConfigError: the name is unknown.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._steps = [(STEPS[kind], value) for kind, value in codecs.parse(name)]

    def __call__(self, faces: Tensor, seeds: Sequence[codecs.Seed]) -> Tensor:
        """Return what arrives of faces (N, 3, H, W) in [-1,1], of the same shape.

        Args:
            faces: any float type; the arithmetic is float32.
            seeds: one a face, for its noise and its jitter.
        """
        randoms = [np.random.default_rng(seed) for seed in seeds]
        arrived = to_levels(faces.float())
        with torch.autocast(faces.device.type, enabled=False):
            for step, value in self._steps:
                arrived = to_levels(step(arrived, value, randoms))
        return arrived.to(faces.dtype)


class RandomChannels:
    """Draws a channel for each face: expectation over transformations (Athalye et al. 2018).

    Args:
        weights: channel names and how often each is drawn, relative to one another.
        generator: the only source of randomness, so a checkpoint of its state repeats the draws.

    Raises:
        ConfigError: a name is unknown.
    """

    def __init__(self, weights: Mapping[str, float], generator: torch.Generator) -> None:
        self.generator = generator
        self._channels = [DifferentiableChannel(name) for name in weights]
        self._weights = torch.tensor(list(weights.values()), dtype=torch.float64)

    def __call__(self, faces: Tensor) -> Tensor:
        """Return faces (N, 3, H, W) as they arrive through newly drawn channels."""
        return self.draw(len(faces))(faces)

    def draw(self, count: int) -> Callable[[Tensor], Tensor]:
        """Return one passage for batches of ``count`` faces.

        It does the same to every batch, so that a face and its protected twin share their crop;
        several batches may be joined to one.
        """
        drawn = torch.multinomial(self._weights, count, True, generator=self.generator)
        seeds = torch.randint(2**31, (count,), generator=self.generator).tolist()
        return partial(self._pass, drawn, seeds)

    def _pass(self, drawn: Tensor, seeds: Sequence[int], faces: Tensor) -> Tensor:
        batches = len(faces) // len(drawn)
        drawn, seeds = drawn.repeat(batches), [*seeds] * batches
        parts, places = [], []
        for index in drawn.unique().tolist():
            chosen = (drawn == index).nonzero()[:, 0].tolist()
            channel = self._channels[index]
            where = torch.tensor(chosen, device=faces.device)
            parts.append(channel(faces[where], [seeds[face] for face in chosen]))
            places += chosen
        order = torch.tensor(places, device=faces.device).argsort()
        return torch.cat(parts)[order]


def straight_through(value: Tensor, gradient: Tensor) -> Tensor:
    """Return ``value``, with the gradient that ``gradient`` has."""
    return gradient + (value - gradient).detach()


def to_levels(faces: Tensor) -> Tensor:
    """Round faces in [-1,1] to the levels of 8 bits, gradients passing straight through."""
    faces = faces.clamp(-1, 1)
    levels = ((faces + 1) * LEVELS).round()
    return straight_through(levels / LEVELS - 1, faces)


def _levels(curve: Callable[[Tensor, float], Tensor]) -> Step:
    """Make a step of a curve on levels from 0 to 1."""

    def step(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
        return curve((faces + 1) / 2, value) * 2 - 1

    return step


def _real(kind: str) -> Step:
    """Make a step of a codec that only Pillow has."""

    def step(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
        arrived = send(codecs.load(f"{kind}-{value:g}"), faces, [0] * len(faces))
        return straight_through(arrived, faces)

    return step


STEPS["webp"] = _real("webp")
STEPS["avif"] = _real("avif")


@STEPS.register("round")
def _round(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    return faces


@STEPS.register("resize")
def _resize(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    height, width = faces.shape[2:]
    small = (max(1, round(height * value / 100)), max(1, round(width * value / 100)))
    return _scaled(to_levels(_scaled(faces, small, "bicubic")), (height, width), "bicubic")


@STEPS.register("screenshot")
def _screenshot(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    height, width = faces.shape[2:]
    shown = (round(height * codecs.SCREEN_SCALE), round(width * codecs.SCREEN_SCALE))
    return _scaled(to_levels(_scaled(faces, shown, "bilinear")), (height, width), "bilinear")


def _scaled(faces: Tensor, size: tuple[int, int], how: str) -> Tensor:
    # With antialias the kernels are those of Pillow.
    return F.interpolate(faces, size, mode=how, antialias=True)


@STEPS.register("blur")
def _blur(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    from kornia.filters import gaussian_blur2d

    size = 2 * math.ceil(3 * value) + 1
    blurred: Tensor = gaussian_blur2d(faces, size, (value, value), border_type="replicate")
    return blurred


@STEPS.register("noise")
def _noise(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    height, width = faces.shape[2:]
    noise = np.stack([r.standard_normal((height, width, 3), np.float32) for r in randoms])
    return faces + torch.from_numpy(noise).permute(0, 3, 1, 2).to(faces) * (value / LEVELS)


@STEPS.register("brightness")
@_levels
def _brightness(levels: Tensor, value: float) -> Tensor:
    return levels * (1 + value / 100)


@STEPS.register("contrast")
@_levels
def _contrast(levels: Tensor, value: float) -> Tensor:
    luma = levels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (levels * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    return grey + (levels - grey) * (1 + value / 100)


@STEPS.register("gamma")
@_levels
def _gamma(levels: Tensor, value: float) -> Tensor:
    # Black has no finite gradient; a fifth of a level has.
    return levels.clamp(min=0.2 / 255) ** value


@STEPS.register("bits")
@_levels
def _bits(levels: Tensor, value: float) -> Tensor:
    steps = 2 ** round(value) - 1
    return straight_through((levels * steps).round() / steps, levels)


@STEPS.register("median")
def _median(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    side = round(value) | 1
    wide = F.pad(faces, [side // 2] * 4, mode="replicate")
    return wide.unfold(2, side, 1).unfold(3, side, 1).flatten(-2).median(-1).values


@STEPS.register("bilateral")
def _bilateral(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    from kornia.filters import bilateral_blur

    side, sigma = 2 * codecs.BILATERAL_REACH + 1, codecs.BILATERAL_SIGMA
    blurred: Tensor = bilateral_blur(faces, side, value / LEVELS, (sigma, sigma))
    return blurred


@STEPS.register("jitter")
def _jitter(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    return _cropped(faces, [codecs.draw_jitter(value, random) for random in randoms])


@STEPS.register("shift")
def _shift(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    return _cropped(faces, [codecs.shifted(value, faces.shape[-1])] * len(faces))


@STEPS.register("zoom")
def _zoom(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    return _cropped(faces, [codecs.zoomed(value)] * len(faces))


@STEPS.register("turn")
def _turn(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    return _cropped(faces, [codecs.turned(value)] * len(faces))


def _cropped(faces: Tensor, jitters: Sequence[codecs.Jitter]) -> Tensor:
    matrices = np.stack([jitter.matrix for jitter in jitters])
    grid = F.affine_grid(
        torch.from_numpy(matrices).to(faces), list(faces.shape), align_corners=False
    )
    smooth = torch.tensor([jitter.bicubic for jitter in jitters], device=faces.device)
    cubic, linear = (
        F.grid_sample(faces, grid, how, padding_mode="reflection", align_corners=False)
        for how in ("bicubic", "bilinear")
    )
    return torch.where(smooth.view(-1, 1, 1, 1), cubic, linear)


@STEPS.register("messenger")
def _messenger(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    return _jpeg(faces, codecs.MESSENGER_QUALITY, randoms)


#: The quantisation tables of ITU-T T.81, annex K, for quality 50: luma and chroma.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


@STEPS.register("jpeg")
def _jpeg(faces: Tensor, value: float, randoms: Randoms) -> Tensor:
    """Compress as libjpeg does: colour at half resolution, 8 x 8 cosine transforms, quantised."""
    height, width = faces.shape[2:]
    padding = (0, -width % 16, 0, -height % 16)
    wide = F.pad(faces, padding, mode="replicate") * LEVELS  # -127.5 .. 127.5
    forth, back = (matrix.to(faces) for matrix in _colours())
    planes = torch.einsum("ij,njhw->nihw", forth, wide)
    luma = _whole(planes[:, :1] - 0.5)
    chroma = _whole(F.avg_pool2d(_whole(planes[:, 1:]), 2))
    quality = round(value)
    luma = _quantised(luma, _table(_LUMA, quality))
    chroma = _quantised(chroma, _table(_CHROMA, quality))
    # Twice the size with weights 3/4 and 1/4, as libjpeg's "fancy upsampling".
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    planes = torch.cat([luma + 0.5, chroma], dim=1)
    decoded = torch.einsum("ij,njhw->nihw", back, planes)
    return decoded[..., :height, :width] / LEVELS


def _whole(values: Tensor) -> Tensor:
    return straight_through(values.round(), values)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Send planes (N, C, H, W) through their cosine transform, quantised by ``table`` (64,)."""
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    basis, table = _cosines().to(planes), table.to(planes)
    coefficients = blocks.flatten(-2) @ basis.T
    levels = _whole(coefficients / table) * table
    restored = (levels @ basis).unflatten(-1, (8, 8)).transpose(3, 4).reshape(planes.shape)
    return _whole(restored.clamp(-128, 127))


@cache
def _colours() -> tuple[Tensor, Tensor]:
    """Return what takes RGB to luma and the two colour differences, and back, (3, 3) each."""
    forth = torch.from_numpy(YCBCR)
    return forth, forth.inverse()


@cache
def _cosines() -> Tensor:
    """Return the orthonormal cosine transform of 8 x 8 blocks, (64, 64)."""
    rows = torch.arange(8, dtype=torch.float64)
    one = torch.cos((2 * rows + 1) * rows.view(-1, 1) * math.pi / 16) / 2
    one[0] /= math.sqrt(2)
    return torch.kron(one, one)


def _table(base: Sequence[Sequence[int]], quality: int) -> Tensor:
    """Return a quantisation table (64,) as libjpeg scales it to a quality from 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(base).flatten() * scale + 50) // 100).clamp(1, 255)

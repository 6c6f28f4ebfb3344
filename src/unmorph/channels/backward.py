"""Channels backwards, without torch: what a gradient at the far end asks of the face.

Each step of a channel stands for the linear map that it nearly is: recompression for what it does
to colour, an attacker's crop for moving pixels. Where a codec quantises, the gradient passes
straight through (Athalye et al. 2018: backward pass differentiable approximation).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmorph.channels import codecs
from unmorph.registry import Registry
from unmorph.resampling import gaussian, resampling

Floats = NDArray[np.float32]
Step = Callable[[Floats, float, np.random.Generator], Floats]

#: Takes the gradient (3, H, W) at a step's output to that at its input.
STEPS: Registry[Step] = Registry("channel to go back through")


class Backward:
    """The way back through a channel.

    Args:
        name: as `unmorph.channels.codecs.parse` reads it.

    Raises:
        ConfigError: the name is unknown, or none of the channels that have a way back.
    """

    def __init__(self, name: str) -> None:
        self._steps = [(STEPS[kind], value) for kind, value in codecs.parse(name)]

    def __call__(self, gradient: Floats, seed: int) -> Floats:
        """Return the gradient (3, H, W) at the face, from that at what arrives of it.

        Args:
            gradient: height and width must be even.
            seed: the one that the channel had.
        """
        random = np.random.default_rng(seed)
        # Only the crop draws; a channel that crops twice has its two draws exchanged here.
        for step, value in reversed(self._steps):
            gradient = step(gradient, value, random)
        return gradient


@STEPS.register("round")
def _round(gradient: Floats, value: float, random: np.random.Generator) -> Floats:
    return gradient


@STEPS.register("resize")
def _resize(gradient: Floats, value: float, random: np.random.Generator) -> Floats:
    return _adjoint(gradient, lambda side: _resized(side, max(1, round(side * value / 100))))


@STEPS.register("blur")
def _blur(gradient: Floats, value: float, random: np.random.Generator) -> Floats:
    return _adjoint(gradient, lambda side: gaussian(side, value))


#: RGB to luma and the two colour differences (JFIF).
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

_FORTH, _BACK = YCBCR.astype(np.float32), np.linalg.inv(YCBCR).astype(np.float32)


@STEPS.register("jpeg")
@STEPS.register("messenger")
def _jpeg(gradient: Floats, value: float, random: np.random.Generator) -> Floats:
    planes = np.tensordot(_BACK.T, gradient, 1)
    planes[1:] = _adjoint(planes[1:], _halved)
    back: Floats = np.tensordot(_FORTH.T, planes, 1)
    return back


@STEPS.register("jitter")
def _jitter(gradient: Floats, value: float, random: np.random.Generator) -> Floats:
    height, width = gradient.shape[1:]
    affine = codecs.draw_jitter(value, random).pixels(width, height)
    back = np.linalg.inv(affine)
    planes = [
        Image.fromarray(plane).transform(
            (width, height),
            Image.Transform.AFFINE,
            back[:2].ravel().tolist(),
            Image.Resampling.BILINEAR,
        )
        for plane in gradient
    ]
    # A larger crop's pixel stands for more of the face.
    moved: Floats = np.stack([np.asarray(plane) for plane in planes])
    moved /= np.float32(np.linalg.det(affine))
    return moved


def _adjoint(gradient: Floats, rows: Callable[[int], Floats]) -> Floats:
    """Go back through a linear map that does the same along rows and along columns."""
    height, width = gradient.shape[1:]
    back: Floats = rows(height).T @ gradient @ rows(width)
    return back


@cache
def _resized(side: int, small: int) -> Floats:
    """Return the map (side, side) of resizing to ``small`` and back."""
    how = Image.Resampling.BICUBIC
    return resampling(small, side, how) @ resampling(side, small, how)


@cache
def _halved(side: int) -> Floats:
    """Return the map (side, side) of what JPEG keeps of colour: every second pixel's worth."""
    small = side // 2
    down = resampling(side, small, Image.Resampling.BOX)
    return resampling(small, side, Image.Resampling.BILINEAR) @ down

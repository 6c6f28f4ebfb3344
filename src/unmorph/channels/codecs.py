"""What happens to a photo, as it really happens: through Pillow's codecs, on 8-bit pixels.

A channel's name says everything about it: a kind, often with a number (``jpeg-75``, ``blur-1``,
``brightness+10``), or several with ``>`` between them, first things first (``resize-50>jpeg-75``).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, features

from unmorph.errors import ConfigError, PhotoError
from unmorph.photo import NEEDS_AVIF
from unmorph.registry import Registry

Pixels = NDArray[np.uint8]
Step = Callable[[Image.Image, float, np.random.Generator], Image.Image]

#: What random numbers are drawn from: one number, or several that differ in any of them.
Seed = int | tuple[int, ...]

#: What befalls photos between people, as a report shows it.
STANDARD = (
    "round",
    "jpeg-95",
    "jpeg-90",
    "jpeg-75",
    "jpeg-50",
    "jpeg-30",
    "webp-75",
    "avif-50",
    "resize-75",
    "resize-50",
    "blur-1",
    "blur-2",
    "blur-3",
    "noise-2",
    "noise-5",
    "brightness+10",
    "contrast+20",
    "gamma-0.8",
    "screenshot",
    "messenger",
    "resize-50>jpeg-75",
    "messenger>messenger",
    "jitter",
)

#: What a defense that steps through channels prepares for, as often as each is named here: other
#: crops are what is learnt slowest.
EXPECTED = (
    *("round", "jpeg-75", "jitter"),
    *("resize-50", "jpeg-50", "jitter"),
    *("blur-1", "jpeg-90", "jitter"),
)

#: The attacker's crop taken apart (``jitter`` strays in all of these ways at once).
CROPS = (
    *(f"shift+{pixels}" for pixels in (1, 2, 3, 4, 8)),
    *(f"{kind}+{value}" for kind in ("zoom", "turn") for value in (2, 5)),
)

#: What an attacker does on purpose to wash a protection out.
ANSWERS = ("median-3", "bilateral-25", "bits-4", "jpeg-50>bilateral-25")

#: How far the attacker's crop strays: shift and scale as shares of the crop, rotation in degrees.
SHIFT, SCALE, ROTATION = 0.08, 0.10, 5.0

#: A messenger's longest side and quality.
MESSENGER_SIDE, MESSENGER_QUALITY = 1600, 75

#: A screenshot shows a photo on a screen of this width and height, small ones enlarged as usual.
SCREEN, SCREEN_SCALE = (1920, 1080), 1.25

#: The reach of the bilateral filter in pixels, and the standard deviation of its weights.
BILATERAL_REACH, BILATERAL_SIGMA = 3, 1.5


@dataclass(frozen=True)
class Kind:
    """One kind of step.

    Attributes:
        apply: an RGB image and the number in the name to an RGB image.
        low, high: the least and the largest number.
        default: the number where the name has none; None where it must have one.
        signed: whether ``+`` or ``-`` before the number is its sign rather than a hyphen.
        moves: whether it moves what the image shows, as an attacker's crop of a face does.
        draws: whether it draws random numbers.
    """

    apply: Step
    low: float
    high: float
    default: float | None
    signed: bool
    moves: bool
    draws: bool


_KINDS: Registry[Kind] = Registry("channel")


def _register(
    name: str,
    low: float = 0,
    high: float = 0,
    default: float | None = None,
    signed: bool = False,
    moves: bool = False,
    draws: bool = False,
) -> Callable[[Step], Step]:
    """Register a kind; without limits it takes no number."""

    def add(step: Step) -> Step:
        kind = Kind(step, low, high, 0 if low == high else default, signed, moves, draws)
        _KINDS.register(name)(kind)
        return step

    return add


def names() -> tuple[str, ...]:
    """Return the kinds of channel, sorted; most take a number: ``jpeg-75``."""
    return _KINDS.names()


def still_names() -> tuple[str, ...]:
    """Return the kinds that leave what a photo shows in its place, sorted."""
    return tuple(name for name in names() if not _KINDS[name].moves)


def parse(name: str) -> tuple[tuple[str, float], ...]:
    """Return the kinds and numbers that a channel's name consists of, in their order.

    Raises:
        ConfigError: a kind is unknown or its number out of range; the message lists the choices.
    """
    return tuple(_parse_step(part.strip()) for part in name.split(">"))


def _parse_step(text: str) -> tuple[str, float]:
    match = re.fullmatch(r"([a-z]+)(?:([-+])(\d+(?:\.\d+)?))?", text)
    if match is None or match[1] not in _KINDS:
        raise ConfigError(
            f"unknown channel {text!r}; choose from {', '.join(names())}, most with a number, as "
            "in jpeg-75 or brightness+10, and > between several"
        )
    kind, (name, sign, number) = _KINDS[match[1]], match.groups()
    value = kind.default if number is None else float(number)
    if kind.signed and sign == "-" and value is not None:
        value = -value
    wrong_sign = sign == "+" and not kind.signed
    takes_none = number is not None and kind.low == kind.high
    if value is None or wrong_sign or takes_none or not kind.low <= value <= kind.high:
        hyphen = "" if kind.signed else "-"
        form = (
            name if kind.low == kind.high else f"{name}{hyphen}N, N in {kind.low:g}..{kind.high:g}"
        )
        raise ConfigError(f"channel {text!r}: expected {form}")
    return name, value


class Channel:
    """A photo's way through one or more steps.

    Args:
        name: as `parse` reads it.

    Raises:
        ConfigError: the name is unknown, or needs a codec that this Pillow was built without.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._steps = parse(name)
        if any(kind == "avif" for kind, _ in self._steps) and not features.check("avif"):
            raise ConfigError(NEEDS_AVIF)

    @property
    def moves(self) -> bool:
        """Whether what arrives shows things in other places: a crop of a face, not of a photo."""
        return any(_KINDS[kind].moves for kind, _ in self._steps)

    @property
    def draws(self) -> bool:
        """Whether what arrives depends on the seed."""
        return any(_KINDS[kind].draws for kind, _ in self._steps)

    def __call__(self, photo: Pixels, seed: Seed = 0) -> Pixels:
        """Return what arrives of a photo (height, width, 3); its size may be another.

        The same seed gives the same noise and the same jitter, whatever the photo.
        """
        random = np.random.default_rng(seed)
        image = Image.fromarray(photo)
        for kind, value in self._steps:
            image = _KINDS[kind].apply(image, value, random)
        return np.array(image)


def load(name: str) -> Channel:
    """Return the channel of a name; see `Channel`."""
    return Channel(name)


def _coded(image: Image.Image, form: str, **options: Any) -> Image.Image:
    file = io.BytesIO()
    try:
        image.save(file, form, **options)
    except (OSError, ValueError) as error:  # WebP ends at 16383 pixels a side
        size = f"{image.width} x {image.height}"
        raise PhotoError(f"a photo of {size} pixels cannot be saved as {form}: {error}") from error
    return Image.open(file).convert("RGB")


def _levels(image: Image.Image, curve: Callable[[NDArray[Any]], NDArray[Any]]) -> Image.Image:
    """Send every level, taken as 0 to 1, through a curve."""
    table = np.rint(curve(np.arange(256) / 255) * 255).clip(0, 255).astype(int)
    return image.point(table.tolist() * 3)


@_register("round")
def _round(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Round to 8 bits: whatever comes as a photo already is."""
    return image


@_register("jpeg", 1, 100, default=75)
def _jpeg(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Save as JPEG of a quality, colour at half resolution (4:2:0)."""
    return _coded(image, "JPEG", quality=round(value))


@_register("webp", 1, 100, default=75)
def _webp(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Save as lossy WebP of a quality."""
    return _coded(image, "WEBP", quality=round(value))


@_register("avif", 1, 100, default=50)
def _avif(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Save as AVIF of a quality."""
    return _coded(image, "AVIF", quality=round(value), speed=8)


@_register("resize", 5, 400)
def _resize(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Resize to so many percent of the sides and back (bicubic)."""
    small = [max(1, round(side * value / 100)) for side in image.size]
    return image.resize((small[0], small[1]), Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BICUBIC
    )


@_register("blur", 0.1, 20, default=1)
def _blur(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Blur with a Gaussian of a standard deviation in pixels."""
    return image.filter(ImageFilter.GaussianBlur(value))


@_register("noise", 0.1, 100, default=2, draws=True)
def _noise(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Add Gaussian noise of a standard deviation in levels of 255."""
    pixels = np.asarray(image, np.float32)
    noisy = pixels + value * random.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


@_register("brightness", -90, 400, default=10, signed=True)
def _brightness(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Make every level so many percent brighter."""
    return _levels(image, lambda level: level * (1 + value / 100))


@_register("contrast", -90, 400, default=20, signed=True)
def _contrast(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Move every level so many percent further from the photo's mean grey."""
    return ImageEnhance.Contrast(image).enhance(1 + value / 100)


@_register("gamma", 0.1, 10, default=0.8)
def _gamma(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Raise levels from 0 to 1 to a power; below 1 brightens."""
    return _levels(image, lambda level: level**value)


@_register("screenshot")
def _screenshot(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Show on a screen, a large photo shrunk to it, and keep its pixels as PNG does."""
    scale = min(SCREEN_SCALE, SCREEN[0] / image.width, SCREEN[1] / image.height)
    return _scaled(image, scale, Image.Resampling.BILINEAR)


@_register("messenger")
def _messenger(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Shrink the longest side to 1600 pixels and save as JPEG 75."""
    small = _scaled(image, min(1, MESSENGER_SIDE / max(image.size)), Image.Resampling.LANCZOS)
    return _jpeg(small, MESSENGER_QUALITY, random)


def _scaled(image: Image.Image, scale: float, how: Image.Resampling) -> Image.Image:
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, how)


@_register("jitter", 0.1, 3, default=1, moves=True, draws=True)
def _jitter(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Crop as an attacker's tool might: a little off, larger or smaller, and turned.

    The number multiplies how far; beyond the border the picture is mirrored.
    """
    return _cropped(image, draw_jitter(value, random))


@_register("shift", -64, 64, default=2, signed=True, moves=True)
def _shift(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Crop so many pixels further right and down."""
    return _cropped(image, shifted(value, min(image.size)))


@_register("zoom", -50, 50, default=5, signed=True, moves=True)
def _zoom(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Crop so many percent wider about the same centre."""
    return _cropped(image, zoomed(value))


@_register("turn", -45, 45, default=3, signed=True, moves=True)
def _turn(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Crop turned clockwise by so many degrees about the same centre."""
    return _cropped(image, turned(value))


def _cropped(image: Image.Image, jitter: Jitter) -> Image.Image:
    border = max(image.size) // 2
    wide = np.pad(np.asarray(image), ((border, border), (border, border), (0, 0)), "symmetric")
    return look(Image.fromarray(wide), border, jitter)


def look(wide: Image.Image, border: int, jitter: Jitter) -> Image.Image:
    """Return what a jittered crop sees of a picture that has a border of so many pixels."""
    width, height = wide.width - 2 * border, wide.height - 2 * border
    affine = jitter.pixels(width, height)
    affine[:2, 2] += border
    how = Image.Resampling.BICUBIC if jitter.bicubic else Image.Resampling.BILINEAR
    return wide.transform((width, height), Image.Transform.AFFINE, affine[:2].ravel().tolist(), how)


@dataclass(frozen=True, eq=False)
class Jitter:
    """How an attacker's crop differs from the paper's.

    Attributes:
        matrix: (2, 3): where a point of the crop lies in the face, both from -1 to 1.
        bicubic: whether its pixels are interpolated so; else linearly.
    """

    matrix: NDArray[np.float64]
    bicubic: bool

    def pixels(self, width: int, height: int) -> NDArray[np.float64]:
        """Return the same (3, 3) from pixels of the crop to pixels of the face."""
        unit = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1]])
        pixels: NDArray[np.float64] = (
            unit @ np.vstack([self.matrix, (0, 0, 1)]) @ np.linalg.inv(unit)
        )
        return pixels


def draw_jitter(value: float, random: np.random.Generator) -> Jitter:
    """Draw a jitter; ``value`` multiplies `SHIFT`, `SCALE` and `ROTATION`."""
    shift = 2 * SHIFT * value * random.uniform(-1, 1, 2)
    scale = 1 + SCALE * value * random.uniform(-1, 1)
    angle = ROTATION * value * random.uniform(-1, 1)
    return Jitter(_matrix(shift, scale, angle), bool(random.integers(2)))


def shifted(pixels: float, side: int) -> Jitter:
    """Return a crop of ``side`` pixels that lies so many further right and down."""
    return Jitter(_matrix((2 * pixels / side,) * 2, 1.0, 0.0), True)


def zoomed(percent: float) -> Jitter:
    """Return a crop so much wider."""
    return Jitter(_matrix((0.0, 0.0), 1 + percent / 100, 0.0), True)


def turned(degrees: float) -> Jitter:
    """Return a crop turned clockwise."""
    return Jitter(_matrix((0.0, 0.0), 1.0, degrees), True)


def _matrix(
    shift: Sequence[float] | NDArray[np.float64], scale: float, degrees: float
) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


@_register("median", 3, 9, default=3)
def _median(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Take the median over a square of so many pixels (odd), each colour by itself."""
    return image.filter(ImageFilter.MedianFilter(round(value) | 1))


@_register("bilateral", 1, 255, default=25)
def _bilateral(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Average neighbours of similar colour (Tomasi and Manduchi 1998).

    The number is the standard deviation, in levels, of the summed difference over the colours.
    """
    reach, (height, width) = BILATERAL_REACH, (image.height, image.width)
    wide = np.pad(
        np.asarray(image, np.float32), ((reach, reach), (reach, reach), (0, 0)), "reflect"
    )
    middle = wide[reach : reach + height, reach : reach + width]
    total, weights = np.zeros_like(middle), np.zeros((height, width, 1), np.float32)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            other = wide[reach + down :, reach + right :][:height, :width]
            distance = np.abs(other - middle).sum(axis=2, keepdims=True) / value
            nearness = (down**2 + right**2) / BILATERAL_SIGMA**2
            weight = np.exp(-(nearness + distance**2) / 2)
            total += weight * other
            weights += weight
    return Image.fromarray(np.rint(total / weights).astype(np.uint8))


@_register("bits", 1, 8, default=4)
def _bits(image: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Keep so many bits of each colour."""
    steps = 2 ** round(value) - 1
    return _levels(image, lambda level: np.rint(level * steps) / steps)

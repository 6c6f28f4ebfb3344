"""One picture that shows what protection does: a deepfake's edits before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unmorph.attributes import edit_targets
from unmorph.checking import cut, suppression
from unmorph.errors import PhotoError
from unmorph.faces.crop import Square
from unmorph.levels import to_photos
from unmorph.protector import Protector
from unmorph.runtime import Floats, OnnxClassifier, OnnxDeepfake

#: How strongly the picture exaggerates the perturbation.
AMPLIFIED = 20

_CELL = 192
_GAP = 12
_LINE = 24

#: What the edits that flip an attribute make of it: without it, with it.
_FLIPS = {"Male": ("female", "male"), "Young": ("older", "younger")}

_PAPER, _INK, _FAINT = "white", "black", "dimgray"


@dataclass(frozen=True, eq=False)
class Showcase:
    """The picture and its figures, of one face."""

    picture: Image.Image
    #: Likeness of the protected to the original face in decibels.
    psnr: float
    #: For each edit, how far the deepfake moves the face before and after: the mean squared
    #: change on the scale [-1, 1].
    moved: Mapping[str, tuple[float, float]]


def show(
    photo: NDArray[np.uint8],
    protector: Protector,
    deepfake: OnnxDeepfake,
    classifier: OnnxClassifier,
) -> Showcase:
    """Protect a photo, edit its largest face before and after, and draw both rows.

    Args:
        photo: (height, width, 3) uint8, RGB, upright.

    Raises:
        PhotoError: the photo shows no face.
    """
    result = protector.protect_photo(photo, largest=1)
    if not result.faces:
        raise PhotoError("no face found")
    return compare(photo, result.pixels, result.squares[0], deepfake, classifier)


def compare(
    photo: NDArray[np.uint8],
    protected: NDArray[np.uint8],
    square: Square,
    deepfake: OnnxDeepfake,
    classifier: OnnxClassifier,
) -> Showcase:
    """Edit one face of a photo and of its protected copy, and draw both rows.

    The faces are cut from both photos as an attacker would, so that rounding and resizing count.
    The classifier fills in the labels that the face has now.

    Args:
        photo: (height, width, 3) uint8, RGB, upright.
        protected: likewise; also a smaller or larger copy.
        square: where the face is in ``photo``.
    """
    pair = np.concatenate([cut(pixels, [square], photo) for pixels in (photo, protected)])
    labels = np.repeat(classifier.labels(pair[:1]), 2, axis=0)
    targets = {edit: edit_targets(labels, edit) for edit in deepfake.edits}
    edited = {edit: deepfake.edit(pair, targets[edit]) for edit in deepfake.edits}
    moved = {
        edit: (_squared_error(pair[0], faces[0]), _squared_error(pair[1], faces[1]))
        for edit, faces in edited.items()
    }
    error = _squared_error(pair[0], pair[1])
    psnr = float(10 * np.log10(4 / error)) if error else float("inf")
    titles = [
        _FLIPS[edit][int(targets[edit][0, place])]
        if edit in _FLIPS
        else edit.replace("_", " ").lower()
        for place, edit in enumerate(deepfake.edits)
    ]
    picture = _draw(pair, dict(zip(titles, edited.values(), strict=True)), psnr, moved.values())
    return Showcase(picture, psnr, moved)


def _squared_error(one: Floats, other: Floats) -> float:
    return float(np.square(one - other).mean())


def _draw(
    pair: Floats,
    edited: Mapping[str, Floats],
    psnr: float,
    moved: Iterable[tuple[float, float]],
) -> Image.Image:
    columns = 1 + len(edited)
    step = _CELL + _GAP
    side = 5 * _LINE  # what the rows are called
    picture = Image.new(
        "RGB", (side + columns * step + _GAP, 2 * _LINE + 3 * step + 3 * _LINE), _PAPER
    )
    draw = ImageDraw.Draw(picture)
    large, small = (ImageFont.load_default(size) for size in (16, 14))

    def put(column: int, row: int, face: Floats) -> None:
        picture.paste(_cell(face), (side + column * step, 2 * _LINE + row * step))

    def write(column: int, line: int, text: str, colour: str = _INK) -> None:
        x = side + column * step + _CELL / 2
        draw.text((x, line), text, colour, small, anchor="mt")

    for column, title in enumerate(["photo", *edited]):
        x = side + column * step + _CELL / 2
        draw.text((x, 2 * _LINE - _GAP), title, _INK, large, anchor="ms")
    for row, name in enumerate(("original", "protected", f"perturbation\nx {AMPLIFIED}")):
        y = 2 * _LINE + row * step + _CELL / 2
        draw.multiline_text((_GAP, y), name, _INK, large, anchor="lm")

    for row, face in enumerate(pair):
        put(0, row, face)
        for column, faces in enumerate(edited.values(), start=1):
            put(column, row, faces[row])
    put(0, 2, (pair[1] - pair[0]) * AMPLIFIED)

    below = 2 * _LINE + 2 * step
    for column, (before, after) in enumerate(moved, start=1):
        write(column, below + _LINE, f"{suppression(before, after):.0%} suppressed")
        write(column, below + 2 * _LINE, f"moved {before:.4f}", _FAINT)
        write(column, below + 3 * _LINE, f"now {after:.4f}", _FAINT)
    write(0, 2 * _LINE + 3 * step, f"{psnr:.1f} dB")
    draw.text(
        (_GAP, picture.height - _LINE),
        "Moved: mean squared change that the edit makes, on a scale from -1 to 1.",
        _FAINT,
        small,
    )
    return picture


def _cell(face: Floats) -> Image.Image:
    return Image.fromarray(to_photos(face)).resize((_CELL, _CELL), Image.Resampling.BICUBIC)

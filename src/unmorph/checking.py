"""Whether a photo is protected: what the shipped deepfakes make of its faces, on its way too.

An edit is *stopped* where it moves the protected face by at most a quarter of what it moves the
original by: its suppression 1 - after / before is at least `STOPPED`. Edits that hardly move the
original prove nothing and are not counted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmorph import runtime
from unmorph.attributes import edit_targets
from unmorph.errors import PhotoError
from unmorph.faces.crop import Square, crop_square, frame
from unmorph.faces.detect import FaceDetector
from unmorph.runtime import Floats, OnnxClassifier, OnnxDeepfake

#: The deepfakes in this package and their files in `runtime.SHIPPED`.
DEEPFAKES = {"StarGAN": "stargan.onnx"}

#: What is tried by default: the photo as it is, recompressed, and through a messenger.
CHANNELS = ("round", "jpeg-75", "messenger")

#: An edit is stopped from this suppression on, and weakened from the other.
STOPPED, WEAKENED = 0.75, 0.5

#: An edit that moves a face by less, as a mean squared change on [-1, 1], shows nothing.
MOVED = 0.01

#: The share of edits that must be stopped for a photo to count as protected, and the share that
#: must be weakened for it to count as weakly protected.
MOST, SOME = 0.8, 0.5

#: Two crops less alike than this (decibels) do not show the same picture.
_SAME_PICTURE = 20.0

Pixels = NDArray[np.uint8]
Channel = Callable[[Pixels], Pixels]


class Verdict(enum.Enum):
    """What to think of a face or a photo, from best to worst."""

    PROTECTED = "protected"
    WEAK = "weakly protected"
    UNPROTECTED = "not protected"


@dataclass(frozen=True)
class Edit:
    """What one edit does to a face."""

    name: str
    #: Whether it asks for something that the face has not yet.
    new: bool
    #: How far it moves the original; None where there is no original.
    before: float | None
    #: How far it moves the face that is checked.
    after: float

    @property
    def counted(self) -> bool:
        """Whether it says anything about the protection."""
        return self.new if self.before is None else self.before >= MOVED

    @property
    def suppression(self) -> float | None:
        """What part of the edit was taken away; None where there is no original."""
        return None if self.before is None else suppression(self.before, self.after)

    @property
    def stopped(self) -> bool:
        """Whether hardly anything is left of it."""
        taken = self.suppression
        return self.after < MOVED if taken is None else taken >= STOPPED

    @property
    def weakened(self) -> bool:
        """Whether at most half of it is left, or it is stopped."""
        taken = self.suppression
        return self.stopped or (taken is not None and taken >= WEAKENED)


@dataclass(frozen=True)
class FaceCheck:
    """What one deepfake makes of one face."""

    deepfake: str
    #: Where the face is in the original, or in the photo where there is no original.
    square: Square
    #: How far the deepfake moves the face when asked for what it shows already: its own error.
    error: float
    #: The edits, for each channel by name.
    channels: Mapping[str, tuple[Edit, ...]]

    @property
    def verdict(self) -> Verdict | None:
        """The verdict over all channels; None where no edit counts."""
        verdicts = [judged(edits) for edits in self.channels.values()]
        known = {verdict for verdict in verdicts if verdict is not None}
        if len(known) > 1:
            return Verdict.WEAK  # it does not hold on all ways, nor is it lost on all
        return known.pop() if known else None


class Checker:
    """Checks photos; make one and use it for many.

    Args:
        deepfakes: the deepfakes to try, by name.
        classifier: what fills in the labels that a face has now.
        detector: what finds the faces.
    """

    def __init__(
        self,
        deepfakes: Mapping[str, OnnxDeepfake],
        classifier: OnnxClassifier,
        detector: FaceDetector,
    ) -> None:
        self.deepfakes = deepfakes
        self.classifier = classifier
        self.detector = detector

    @classmethod
    def load(cls, *, threads: int | None = None) -> Checker:
        """Return a checker with everything that this package ships.

        Args:
            threads: how many cores to use; all of them by default.

        Raises:
            WeightsError: a network is absent or damaged.
        """
        deepfakes = {
            name: OnnxDeepfake(runtime.SHIPPED / file, threads) for name, file in DEEPFAKES.items()
        }
        classifier = OnnxClassifier(runtime.CLASSIFIER, threads)
        return cls(deepfakes, classifier, FaceDetector(threads=threads))

    def check(
        self, photo: Pixels, protected: Pixels | None, channels: Mapping[str, Channel]
    ) -> list[FaceCheck]:
        """Return what each deepfake makes of each face, the largest face first.

        Both photos are (height, width, 3) uint8, RGB, upright; ``protected`` may be a smaller or
        larger copy. Without it, ``photo`` itself is checked: an edit then counts where it asks
        for something new, and is stopped where it moves the face by less than `MOVED`. The
        channels may scale a photo, but must leave what it shows in its place.

        Raises:
            PhotoError: there is no face, or the two do not show the same picture.
        """
        faces = [frame(face.landmarks) for face in self.detector.detect(photo)]
        squares = [square for square in faces if square.overlaps(photo)]
        if not squares:
            raise PhotoError("no face found")
        originals = cut(photo, squares, photo)
        if protected is not None and _unlike(originals, cut(protected, squares, photo)):
            raise PhotoError("they do not show the same picture")
        labels = self.classifier.labels(originals)
        ways = {}
        for name, channel in channels.items():
            before = None if protected is None else cut(channel(photo), squares, photo)
            after = cut(channel(photo if protected is None else protected), squares, photo)
            ways[name] = (before, after)
        checks = []
        for deepfake_name, deepfake in self.deepfakes.items():
            errors = _moved(deepfake, originals, labels)
            edits = {
                name: _edits(deepfake, labels, before, after)
                for name, (before, after) in ways.items()
            }
            checks += [
                FaceCheck(
                    deepfake_name,
                    square,
                    float(errors[place]),
                    {name: rows[place] for name, rows in edits.items()},
                )
                for place, square in enumerate(squares)
            ]
        return sorted(checks, key=lambda check: -check.square.size)


def suppression(before: float, after: float) -> float:
    """Return what part of an edit was taken away: 1 is all of it, 0 none of it.

    Args:
        before: how far the deepfake moves the face, as a mean squared change.
        after: how far it moves the protected face.
    """
    return 1 - after / before if before else 0.0


def judged(edits: Sequence[Edit]) -> Verdict | None:
    """Return the verdict over some edits; None where none of them counts."""
    counted = [edit for edit in edits if edit.counted]
    if not counted:
        return None
    if sum(edit.stopped for edit in counted) >= MOST * len(counted):
        return Verdict.PROTECTED
    if sum(edit.weakened for edit in counted) >= SOME * len(counted):
        return Verdict.WEAK
    return Verdict.UNPROTECTED


def worst(checks: Sequence[FaceCheck]) -> Verdict | None:
    """Return the verdict of the face that is worst off, of those that could be judged.

    None where none could be.
    """
    order = list(Verdict)
    known = [check.verdict for check in checks if check.verdict is not None]
    return max(known, key=order.index, default=None)


def cut(photo: Pixels, squares: Sequence[Square], original: Pixels) -> Floats:
    """Return the squares of ``original`` cut out of another copy of it, (N, 3, 128, 128).

    Raises:
        PhotoError: their shapes are not those of two copies of one picture, or the copy is tiny.
    """
    (height, width), (old_height, old_width) = photo.shape[:2], original.shape[:2]
    if abs(width * old_height - height * old_width) > max(width, height, old_width, old_height):
        raise PhotoError(
            f"they do not show the same picture: {old_width} x {old_height} and "
            f"{width} x {height} pixels"
        )
    scale = width / old_width
    scaled = [
        Square(round(s.left * scale), round(s.top * scale), max(1, round(s.size * scale)))
        for s in squares
    ]
    if not all(square.overlaps(photo) for square in scaled):
        raise PhotoError(f"a copy of {width} x {height} pixels is too small to show a face")
    return np.stack([crop_square(photo, square) for square in scaled])


def _unlike(faces: Floats, others: Floats) -> bool:
    """Return whether any two faces are not the same picture."""
    errors = np.square(faces - others).mean(axis=(1, 2, 3))
    return bool((errors > 4 / 10 ** (_SAME_PICTURE / 10)).any())


def _moved(deepfake: OnnxDeepfake, faces: Floats, targets: NDArray[np.float32]) -> Floats:
    """Return how far the deepfake moves each face, (N,)."""
    moved: Floats = np.square(deepfake.edit(faces, targets) - faces).mean(axis=(1, 2, 3))
    return moved


def _edits(
    deepfake: OnnxDeepfake, labels: NDArray[np.float32], before: Floats | None, after: Floats
) -> list[tuple[Edit, ...]]:
    """Return each face's edits."""
    columns = []
    for name in deepfake.edits:
        targets = edit_targets(labels, name)
        new = (targets != labels).any(axis=1)
        old = None if before is None else _moved(deepfake, before, targets)
        moved = _moved(deepfake, after, targets)
        columns.append(
            [
                Edit(name, bool(new[i]), None if old is None else float(old[i]), float(moved[i]))
                for i in range(len(labels))
            ]
        )
    return list(zip(*columns, strict=True))

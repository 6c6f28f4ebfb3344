"""A few gradient steps through the deepfakes, for each face, from where a defense leaves it.

The learned defense sees a face once; what it leaves of the edits of that face, gradient steps
find. They take seconds where it takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unmorph import runtime
from unmorph.attributes import edit_targets
from unmorph.bounds import bound, without_colour
from unmorph.runtime import FaceDefense, Floats, OnnxClassifier, OnnxGradient

#: The deepfakes in this package that can be stepped through: their files in `runtime.SHIPPED`.
GRADIENTS = ("stargan-gradient.onnx",)

#: The likeness to the face that a refined one keeps, in decibels: where nothing else is said, and
#: after the shipped defense of each strength.
PSNR = 40.0
PSNRS = {"subtle": PSNR, "strong": 37.0}

#: The share of a step's direction that the next one keeps (Dong et al. 2018).
MOMENTUM = 0.6

#: Added to how far an edit moves a face, before its loss is divided by that, on [-1, 1] squared.
_LEAST_MOVEMENT = 0.01


def stride(steps: int, psnr: float = PSNR) -> float:
    """Return the length of the first of so many steps; they shrink evenly to nothing.

    It is a root mean square over the pixels, on [-1, 1], like the radius of the PSNR's ball.
    """
    return 0.45 * _radius(psnr) / math.sqrt(steps)


class Refiner:
    """A defense that starts from another and takes gradient steps through deepfakes.

    Each step follows the gradient of L_adv (equation 7) over all edits of all deepfakes, each
    relative to how far the edit moves the unprotected face, and goes back into the ball of the
    PSNR about the face: PGD in L2 (Madry et al. 2018) with momentum.

    Args:
        start: the defense to start from; its epsilon holds for the result too.
        deepfakes: what to step through.
        classifier: what fills in the labels that a face has now.
        steps: how many; each takes a second or so a face and deepfake on a laptop.
        psnr: what each face keeps at least, in decibels.
    """

    def __init__(
        self,
        start: FaceDefense,
        deepfakes: Sequence[OnnxGradient],
        classifier: OnnxClassifier,
        steps: int,
        psnr: float = PSNR,
    ) -> None:
        self.start, self.deepfakes, self.classifier = start, deepfakes, classifier
        self.steps, self.psnr = steps, psnr
        self.epsilon = start.epsilon

    @classmethod
    def load(
        cls, start: FaceDefense, steps: int, psnr: float = PSNR, *, threads: int | None = None
    ) -> Refiner:
        """Return a refiner that steps through every deepfake in this package.

        Args:
            start: the defense to start from.
            steps: how many.
            psnr: what each face keeps at least, in decibels.
            threads: how many cores to use; all of them by default.

        Raises:
            WeightsError: a network is absent or damaged.
        """
        deepfakes = [OnnxGradient(runtime.SHIPPED / file, threads) for file in GRADIENTS]
        classifier = OnnxClassifier(runtime.SHIPPED / "attributes.onnx", threads)
        return cls(start, deepfakes, classifier, steps, psnr)

    def protect(self, faces: Floats) -> Floats:
        """Return faces (N, 3, 128, 128) protected, within epsilon, the PSNR and [-1, 1]."""
        labels = self.classifier.labels(faces)
        goals = [_Goal(deepfake, faces, labels) for deepfake in self.deepfakes]
        protected = self._bounded(faces, self.start.protect(faces))
        velocity: Floats = np.zeros_like(faces)
        for step in range(self.steps):
            gradient = sum((goal.gradient(protected) for goal in goals), np.zeros_like(faces))
            velocity *= MOMENTUM
            velocity += gradient / np.maximum(_size(gradient), 1e-30)
            length = stride(self.steps, self.psnr) * (1 - step / self.steps)
            protected = self._bounded(faces, protected - length * velocity)
        return protected

    def _bounded(self, faces: Floats, protected: Floats) -> Floats:
        change = without_colour(faces, bound(faces, protected, self.epsilon) - faces)
        shrunk: Floats = np.minimum(_radius(self.psnr) / np.maximum(_size(change), 1e-30), 1)
        moved: Floats = faces + shrunk * change
        return moved


class _Goal:
    """All edits of one deepfake on a batch of faces."""

    def __init__(self, deepfake: OnnxGradient, faces: Floats, labels: Floats) -> None:
        self.deepfake = deepfake
        self.targets = np.concatenate([edit_targets(labels, edit) for edit in deepfake.edits])
        copies = self._copies(faces)
        moved = np.square(deepfake.gradient(copies, self.targets)[0] - copies)
        self.weights = 1 / (moved.mean(axis=(1, 2, 3), keepdims=True) + _LEAST_MOVEMENT)

    def gradient(self, protected: Floats) -> Floats:
        """Return the gradient of the edits' losses on each face, (N, 3, 128, 128)."""
        _, gradients = self.deepfake.gradient(self._copies(protected), self.targets)
        count = len(self.deepfake.edits)
        weighted = (self.weights * gradients).reshape(count, *protected.shape)
        total: Floats = weighted.sum(axis=0)
        return total

    def _copies(self, faces: Floats) -> Floats:
        return np.concatenate([faces] * len(self.deepfake.edits))


def _radius(psnr: float) -> float:
    """Return the root mean square of a perturbation of so many decibels, on [-1, 1]."""
    return float(2 / 10 ** (psnr / 20))


def _size(values: Floats) -> Floats:
    """Return the root mean square of each face, as (N, 1, 1, 1)."""
    size: Floats = np.sqrt(np.square(values).mean(axis=(1, 2, 3), keepdims=True))
    return size

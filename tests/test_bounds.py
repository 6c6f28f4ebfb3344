from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unmorph.bounds import bound


def test_keeps_what_is_within() -> None:
    faces = np.zeros((1, 3, 4, 4), np.float32)
    protected = faces + 0.04
    np.testing.assert_array_equal(bound(faces, protected, 0.05), protected)


@pytest.mark.parametrize("library", [np, torch])
def test_moves_to_the_nearest_valid_image(library: Any) -> None:
    faces = library.asarray([-1.0, -0.98, 0.0, 0.3, 1.0])
    protected = library.asarray([-2.0, -1.5, 0.2, 0.28, 3.0])
    result = bound(faces, protected, 0.05)
    assert result.tolist() == pytest.approx([-1.0, -1.0, 0.05, 0.28, 1.0])


def test_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match="keep the shape"):
        bound(np.zeros((2, 3, 4, 4)), np.zeros((1, 3, 4, 4)), 0.05)


def test_lets_gradients_through_within_the_bound_only() -> None:
    faces = torch.zeros(2)
    protected = torch.tensor([0.01, 0.2], requires_grad=True)
    bound(faces, protected, 0.05).sum().backward()
    assert protected.grad is not None
    assert protected.grad.tolist() == [1.0, 0.0]

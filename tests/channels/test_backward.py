from __future__ import annotations

import numpy as np
import pytest
import torch

from unmorph.channels import EXPECTED
from unmorph.channels.backward import Backward
from unmorph.channels.differentiable import DifferentiableChannel
from unmorph.errors import ConfigError
from unmorph.export import example_faces


def smooth(seed: int) -> torch.Tensor:
    """A gradient with some structure, (1, 3, 64, 64)."""
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(64, 64), mode="bilinear")


@pytest.mark.parametrize(
    "name", [*sorted(set(EXPECTED)), "messenger", "resize-50>jpeg-75", "jpeg-75>jitter"]
)
def test_goes_back_as_autograd_does(name: str) -> None:
    face = (example_faces(1, seed=3)[..., :64, :64] * 0.8).requires_grad_()
    gradient = smooth(5)
    arrived = DifferentiableChannel(name)(face, [7])
    expected = torch.autograd.grad(arrived, face, gradient)[0][0].numpy()
    found = Backward(name)(gradient[0].numpy(), 7)
    # A crop mirrors what lies beyond the border; going back leaves that out.
    inside = np.s_[:, 12:-12, 12:-12]
    error = np.square(found - expected)[inside].mean() / np.square(expected)[inside].mean()
    assert found.dtype == np.float32
    assert error < 0.02, f"{error:.4f}"


def test_blur_loses_detail() -> None:
    fine = np.tile(np.array([[0.5, -0.5], [-0.5, 0.5]], np.float32), (3, 32, 32))
    assert np.abs(Backward("blur-2")(fine, 0)[:, 8:-8, 8:-8]).max() < 1e-3


def test_channels_without_a_way_back_are_named() -> None:
    with pytest.raises(ConfigError, match="median"):
        Backward("median-3")

"""Against scikit-image and numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from unmorph.metrics import l2, psnr, ssim


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(3, 3, 24, 32, generator=generator) * 2 - 1
    noise = torch.randn(3, 3, 24, 32, generator=generator)
    strength = torch.tensor([0.01, 0.1, 0.5]).view(3, 1, 1, 1)
    return first, (first + strength * noise).clamp(-1, 1)


def per_image(pair: tuple[Tensor, Tensor], figure: Callable[..., float]) -> list[float]:
    first, second = (batch.permute(0, 2, 3, 1).double().numpy() for batch in pair)
    return [figure(a, b) for a, b in zip(first, second, strict=True)]


def test_l2_is_the_mean_squared_error(pair: tuple[Tensor, Tensor]) -> None:
    expected = per_image(pair, lambda a, b: float(np.mean((a - b) ** 2)))
    np.testing.assert_allclose(l2(*pair), expected, rtol=1e-5)


def test_psnr_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    expected = per_image(pair, lambda a, b: peak_signal_noise_ratio(a, b, data_range=2))
    np.testing.assert_allclose(psnr(*pair), expected, rtol=1e-5)


def test_papers_l2_and_psnr_share_the_scale() -> None:
    # 0.0008 and 37.0 dB: PGD in the paper's table 1.
    faces = torch.zeros(1, 3, 8, 8)
    assert psnr(faces, faces + 0.0008**0.5).item() == pytest.approx(36.99, abs=0.01)


def mirrored_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """scikit-image's SSIM map over the whole image, its borders mirrored as in torchmetrics."""
    margin = ((5, 5), (5, 5), (0, 0))
    _, values = structural_similarity(
        np.pad(first, margin, mode="reflect"),
        np.pad(second, margin, mode="reflect"),
        data_range=2,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(values[5:-5, 5:-5].mean())


def test_ssim_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    np.testing.assert_allclose(ssim(*pair), per_image(pair, mirrored_ssim), atol=1e-5)


def test_equal_images(pair: tuple[Tensor, Tensor]) -> None:
    first, _ = pair
    assert l2(first, first).tolist() == [0, 0, 0]
    assert psnr(first, first).tolist() == [float("inf")] * 3
    torch.testing.assert_close(ssim(first, first), torch.ones(3))


@pytest.mark.parametrize("figure", [l2, psnr, ssim])
def test_one_image_keeps_its_batch_axis(
    figure: Callable[[Tensor, Tensor], Tensor], pair: tuple[Tensor, Tensor]
) -> None:
    first, second = pair
    assert figure(first[:1], second[:1]).shape == (1,)


@pytest.mark.parametrize("figure", [l2, psnr, ssim])
def test_shapes_are_not_broadcast(figure: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="of one shape"):
        figure(torch.zeros(2, 3, 16, 16), torch.zeros(1, 3, 16, 16))

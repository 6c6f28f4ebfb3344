"""Fast-AgingGAN against the same layers written out in NumPy, from the published description."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from unmorph import deepfakes
from unmorph.deepfakes.fast_aginggan import AGES
from unmorph.errors import ConfigError, WeightsError

Array = NDArray[np.float64]


def convolved(x: Array, kernel: Array, stride: int, depthwise: bool = False) -> Array:
    """Convolve (H, W, C) with TensorFlow's SAME padding."""
    size = kernel.shape[0]
    height, width = (math.ceil(n / stride) for n in x.shape[:2])
    total = [max((math.ceil(n / stride) - 1) * stride + size - n, 0) for n in x.shape[:2]]
    padded = np.pad(x, [*((t // 2, t - t // 2) for t in total), (0, 0)])
    out = np.zeros((height, width, kernel.shape[2 if depthwise else 3]))
    for row in range(size):
        for column in range(size):
            seen = padded[row:, column:][: stride * height : stride, : stride * width : stride]
            tap = kernel[row, column]
            out += seen * tap[:, 0] if depthwise else seen @ tap
    return out


class Reference:
    """The network on one face (H, W, 3), from a dictionary with Keras' names."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        self.tensors = {name: value.astype(np.float64) for name, value in tensors.items()}

    def conv(self, x: Array, layer: str, stride: int = 1) -> Array:
        kind = "depthwise_kernel" if layer.endswith("depthwise") else "kernel"
        kernel = self.tensors[f"{layer}.{kind}"]
        return convolved(x, kernel, stride, kind != "kernel") + self.tensors[f"{layer}.bias"]

    def norm(self, x: Array, layer: str) -> Array:
        gamma, beta, mean, variance = (
            self.tensors[f"{layer}.{name}"]
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def __call__(self, face: Array, group: int) -> Array:
        def leaky(x: Array) -> Array:
            return np.where(x > 0, x, 0.3 * x)

        def double(x: Array) -> Array:
            return x.repeat(2, axis=0).repeat(2, axis=1)

        x = np.concatenate([face, np.full((*face.shape[:2], 1), float(group))], axis=2)
        fine = leaky(self.norm(self.conv(x, "conv2d_5"), "batch_normalization_3"))
        x = leaky(self.norm(self.conv(fine, "conv2d_6", 2), "batch_normalization_4"))
        x = leaky(self.norm(self.conv(x, "conv2d_7", 2), "batch_normalization_5"))
        for block in ("expanded_conv", "block_1", "block_2", "block_3", "block_4", "block_5"):
            y = x
            if block != "expanded_conv":
                y = np.maximum(self.norm(self.conv(y, f"{block}_expand"), f"{block}_expand_BN"), 0)
            y = self.norm(self.conv(y, f"{block}_depthwise"), f"{block}_depthwise_BN")
            y = self.conv(np.maximum(y, 0), f"{block}_project")
            x = x + self.norm(y, f"{block}_project_BN")
        x = leaky(self.conv(double(x), "conv2d_8"))
        x = leaky(self.conv(double(x), "conv2d_9"))
        return np.asarray(np.tanh(self.conv(x + fine, "conv2d_10")))


@pytest.fixture
def tensors() -> dict[str, NDArray[np.float32]]:
    """Random weights in the published layout."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(layer: str, size: int, inner: int, outer: int) -> None:
        shapes[f"{layer}.kernel"] = (size, size, inner, outer)
        shapes[f"{layer}.bias"] = (outer,)

    def norm(layer: str, channels: int) -> None:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        shapes.update({f"{layer}.{name}": (channels,) for name in names})

    for number, inner, outer in (
        *((5, 4, 24), (6, 24, 24), (7, 24, 24)),
        *((8, 24, 24), (9, 24, 24), (10, 24, 3)),
    ):
        conv(f"conv2d_{number}", 3, inner, outer)
    for number in (3, 4, 5):
        norm(f"batch_normalization_{number}", 24)
    for block in ("expanded_conv", *(f"block_{number}" for number in range(1, 6))):
        width = 24 if block == "expanded_conv" else 144
        if width > 24:
            conv(f"{block}_expand", 1, 24, width)
            norm(f"{block}_expand_BN", width)
        shapes[f"{block}_depthwise.depthwise_kernel"] = (3, 3, width, 1)
        shapes[f"{block}_depthwise.bias"] = (width,)
        norm(f"{block}_depthwise_BN", width)
        conv(f"{block}_project", 1, width, 24)
        norm(f"{block}_project_BN", 24)
    found = {}
    for name, shape in shapes.items():
        fan_in = math.prod(shape[:-1]) if len(shape) == 4 else 4
        values = random.standard_normal(shape) / math.sqrt(fan_in)
        found[name] = (np.abs(values) + 0.5 if "variance" in name else values).astype(np.float32)
    return found


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, NDArray[np.float32]]], Path]:
    def save(tensors: dict[str, NDArray[np.float32]]) -> Path:
        save_file(tensors, tmp_path / "aging.safetensors")
        return tmp_path / "aging.safetensors"

    return save


def test_it_is_the_network_that_was_published(
    tensors: dict[str, NDArray[np.float32]], write: Callable[..., Path]
) -> None:
    deepfake = deepfakes.load("fast-aginggan", write(tensors))
    assert sum(value.size for value in tensors.values()) == 72_531
    reference = Reference(tensors)
    faces = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for group, edit in enumerate(AGES):
        edited = deepfake.edit(faces, edit)
        for face, made in zip(faces, edited, strict=True):
            expected = reference(face.permute(1, 2, 0).double().numpy(), group)
            assert np.abs(expected).max() > 0.1
            np.testing.assert_allclose(made.permute(1, 2, 0).numpy(), expected, atol=2e-5)


def test_it_needs_no_labels(
    tensors: dict[str, NDArray[np.float32]], write: Callable[..., Path]
) -> None:
    deepfake = deepfakes.load("fast-aginggan", write(tensors))
    faces = torch.zeros(3, 3, 16, 16)
    assert deepfake.read_labels(faces).shape == (3, 0)
    assert deepfake.targets("50+", torch.ones(3, 5)).tolist() == [[4.0]] * 3
    with pytest.raises(ConfigError, match="'60'; choose one of 10-19, 20-29, "):
        deepfake.targets("60", torch.ones(3, 5))


@pytest.mark.parametrize("name", ["conv2d_6.bias", "block_2_depthwise.depthwise_kernel"])
def test_another_network_is_refused(
    tensors: dict[str, NDArray[np.float32]], write: Callable[..., Path], name: str
) -> None:
    tensors[name] = tensors[name][..., None]
    with pytest.raises(WeightsError, match=r"aging\.safetensors: not a Fast-AgingGAN generator: "):
        deepfakes.load("fast-aginggan", write(tensors))
    del tensors[name]
    with pytest.raises(WeightsError, match=name.split(".")[0]):
        deepfakes.load("fast-aginggan", write(tensors))
    tensors["extra"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError, match="extra"):
        deepfakes.load("fast-aginggan", write(tensors))

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from unmorph.errors import ConfigError
from unmorph.perceptual import METRIC_LAYERS, VGGFeatures, feature_distance

#: Those of VGG16 up to conv4_3 (Simonyan and Zisserman 2015, table 1, column D).
CONVOLUTIONS = [
    f"block{block}_conv{place}"
    for block, depth in enumerate((2, 2, 3, 3), 1)
    for place in range(1, depth + 1)
]


@pytest.fixture(scope="module")
def tiny_weights() -> dict[str, Tensor]:
    """VGG16's key names with two channels a layer."""
    generator = torch.Generator().manual_seed(0)
    tensors, channels = {}, 3
    for key in CONVOLUTIONS:
        tensors[f"{key}.weight"] = torch.randn(2, channels, 3, 3, generator=generator)
        tensors[f"{key}.bias"] = torch.randn(2, generator=generator)
        channels = 2
    return tensors


def batch(seed: int, size: int = 16) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def reference(faces: np.ndarray, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the last activations of VGG16's blocks in numpy, as Caffe's recipe has them."""
    red, green, blue = np.moveaxis((faces.astype(float) + 1) / 2 * 255, 1, 0)
    x = np.stack([blue - 103.939, green - 116.779, red - 123.68], axis=1)
    found = []
    for block in ("block1", "block2", "block3", "block4"):
        for key in (key for key in CONVOLUTIONS if key.startswith(block)):
            height, width = x.shape[2:]
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
            x = weights[f"{key}.bias"][:, None, None] + sum(
                np.einsum(
                    "oi,nihw->nohw",
                    weights[f"{key}.weight"][:, :, row, column],
                    padded[:, :, row : row + height, column : column + width],
                )
                for row in range(3)
                for column in range(3)
            )
            x = np.maximum(x, 0)
        found.append(x)
        count, depth, height, width = x.shape
        x = x.reshape(count, depth, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    return found


def test_activations_and_distance_follow_the_caffe_recipe(tiny_weights: dict[str, Tensor]) -> None:
    network = VGGFeatures(METRIC_LAYERS, weights=tiny_weights)
    arrays = {key: tensor.numpy() for key, tensor in tiny_weights.items()}
    pair = batch(1), batch(2)
    expected = [reference(faces.numpy(), arrays) for faces in pair]
    for found, wanted in zip(network(pair[0]), expected[0], strict=True):
        assert wanted.max() > 0
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-2)
    layers = [
        ((one - other) ** 2).mean(axis=(1, 2, 3)) for one, other in zip(*expected, strict=True)
    ]
    distance = np.mean(layers, axis=0)
    np.testing.assert_allclose(network.distance(*pair).numpy(), distance, rtol=1e-3)


def test_nothing_deeper_than_asked_for_is_built(tiny_weights: dict[str, Tensor]) -> None:
    network = VGGFeatures(("relu1_1",), weights=tiny_weights)
    assert list(network.convolutions) == ["relu1_1"]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_distance_is_the_mean_square_over_each_image() -> None:
    first = [torch.zeros(2, 1, 2, 2), torch.zeros(2, 3, 1, 1)]
    second = [torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2), torch.ones(2, 3, 1, 1)]
    assert feature_distance(first, second).tolist() == [1.0, 2.5]


def test_distance_has_a_gradient_towards_the_faces(tiny_weights: dict[str, Tensor]) -> None:
    network = VGGFeatures(METRIC_LAYERS[:2], weights=tiny_weights)
    faces = batch(1).requires_grad_()
    (gradient,) = torch.autograd.grad(network.distance(faces, batch(2)).sum(), faces)
    assert gradient.abs().sum() > 0


def test_unknown_layer_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="relu9_9; choose from relu1_1, relu1_2"):
        VGGFeatures(("relu9_9",), weights={})


@pytest.mark.skipif("UNMORPH_WEIGHTS_FROM" not in os.environ, reason="UNMORPH_WEIGHTS_FROM unset")
def test_stored_network_gives_the_four_blocks() -> None:
    network = VGGFeatures(METRIC_LAYERS)
    features = network(batch(3, size=32))
    assert [f.shape[1] for f in features] == [64, 128, 256, 512]
    assert [f.shape[2] for f in features] == [32, 16, 8, 4]
    assert network.distance(batch(3, 32), batch(4, 32)).min() > 0

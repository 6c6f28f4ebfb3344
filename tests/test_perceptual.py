from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmorph.errors import ConfigError
from unmorph.perceptual import METRIC_LAYERS, VGGFeatures, feature_distance


@pytest.fixture(scope="module")
def tiny_weights() -> dict[str, Tensor]:
    """VGG16's key names with two channels a layer."""
    generator = torch.Generator().manual_seed(0)
    tensors, channels = {}, 3
    for key in ("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"):
        tensors[f"{key}.weight"] = torch.randn(2, channels, 3, 3, generator=generator)
        tensors[f"{key}.bias"] = torch.randn(2, generator=generator)
        channels = 2
    return tensors


def batch(seed: int, size: int = 16) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_activations_follow_the_caffe_recipe(tiny_weights: dict[str, Tensor]) -> None:
    faces = batch(1)
    features = VGGFeatures(METRIC_LAYERS[:2], weights=tiny_weights)(faces)
    red, green, blue = ((faces + 1) / 2 * 255).unbind(1)
    x = torch.stack([blue - 103.939, green - 116.779, red - 123.68], dim=1)
    expected = []
    for block in ("block1", "block2"):
        for conv in ("conv1", "conv2"):
            key = f"{block}_{conv}"
            x = F.conv2d(x, tiny_weights[f"{key}.weight"], tiny_weights[f"{key}.bias"], padding=1)
            x = x.clamp(min=0)
        expected.append(x)
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-1, -2))
    for found, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-2)


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

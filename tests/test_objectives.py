from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unmorph.deepfakes.stargan import Generator, StarGAN
from unmorph.defenses import PerturbationGenerator
from unmorph.objectives import (
    adversarial_loss,
    feature_loss,
    magnitude_loss,
    pixel_loss,
    relative_weight,
    structure_loss,
    total_loss,
)
from unmorph.perceptual import VGGFeatures


def close(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-7)


@pytest.fixture
def features() -> VGGFeatures:
    """One activation: twice the pixel's blue in Caffe's scale, where that is positive."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, 0, 1, 1] = 2.0
    weights = {"block1_conv1.weight": weight, "block1_conv1.bias": torch.zeros(1)}
    return VGGFeatures(("relu1_1",), weights=weights)


def test_pixel_and_adversarial_loss_are_mean_squares_per_face() -> None:
    faces = torch.zeros(2, 3, 2, 2)
    protected = faces.clone()
    protected[0, 0, 0, 0] = 0.6  # one of twelve
    protected[1] = -0.1
    close(pixel_loss(faces, protected), [0.03, 0.01])
    edited = protected + torch.tensor([0.2, 0.3])[:, None, None, None]
    close(adversarial_loss(protected, edited), [0.04, 0.09])


def test_feature_loss(features: VGGFeatures) -> None:
    faces = torch.zeros(2, 3, 4, 4)
    protected = faces.clone()
    protected[0, 2] = 0.01  # blue; 0.01 is 1.275 of 255
    protected[1, 0] = 0.01  # red, which these features do not see
    close(feature_loss(features, faces, protected), [(2 * 1.275) ** 2, 0.0])


def test_structure_loss_asks_for_more_where_a_face_is_smooth() -> None:
    detail = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    faces = torch.cat([torch.zeros_like(detail), detail])
    noise = 0.02 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    smooth, rough = structure_loss(faces, faces + noise)
    assert smooth > 10 * rough > 0
    close(structure_loss(faces, faces), [0.0, 0.0])


def test_sums() -> None:
    pixel, feature = torch.tensor([0.01, 0.02]), torch.tensor([30.0, 50.0])
    magnitude = magnitude_loss(pixel, feature, lambda_feat=1e-3)
    close(magnitude, [0.04, 0.07])
    structure = torch.tensor([0.1, 0.2])
    close(magnitude_loss(pixel, feature, 1e-3, structure, lambda_ssim=0.5), [0.09, 0.17])
    adversarial = torch.tensor([0.5, 0.25])
    close(total_loss(magnitude, adversarial, lambda_mag=10.0, lambda_adv=2.0), [1.4, 1.2])


def test_the_gradient_reaches_the_defense_and_not_the_deepfake(features: VGGFeatures) -> None:
    torch.manual_seed(0)
    deepfake = StarGAN(Generator(4, repeat_num=1), {"origin": "random weights"})
    deepfake.freeze()
    defense = PerturbationGenerator(2)
    faces, targets = torch.rand(2, 3, 128, 128) - 0.5, torch.ones(2, 5)
    protected = faces + defense(faces)
    magnitude = magnitude_loss(
        pixel_loss(faces, protected), feature_loss(features, faces, protected), 1e-3
    )
    adversarial = adversarial_loss(protected, deepfake(protected, targets))
    for loss in (magnitude, adversarial):
        defense.zero_grad()
        loss.sum().backward(retain_graph=True)
        for name, parameter in defense.named_parameters():
            if parameter.ndim == 4:
                assert parameter.grad is not None, name
                assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in [*deepfake.parameters(), *features.parameters()])


def test_relative_weight_is_each_faces_own() -> None:
    faces = torch.zeros(2, 3, 4, 4)
    edited = faces + torch.tensor([0.3, 0.0])[:, None, None, None]
    torch.testing.assert_close(relative_weight(faces, edited), torch.tensor([10.0, 100.0]))

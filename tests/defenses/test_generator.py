from __future__ import annotations

import pytest
import torch
from torch import nn

from unmorph.defenses import PerturbationGenerator


def random_faces(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_seven_levels_down_to_one_pixel_and_back() -> None:
    defense = PerturbationGenerator(2).eval()
    down: list[tuple[int, int]] = []
    up: list[tuple[int, int]] = []
    for module in defense.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert (module.kernel_size, module.stride) == ((4, 4), (2, 2))
            side = down if isinstance(module, nn.Conv2d) else up
            module.register_forward_hook(
                lambda _, __, y, side=side: side.append((y.shape[1], y.shape[2]))
            )
    with torch.no_grad():
        perturbation = defense(random_faces())
    assert perturbation.shape == (2, 3, 128, 128)
    assert down == [(2, 64), (4, 32), (8, 16), (16, 8), (16, 4), (16, 2), (16, 1)]
    assert up == [(16, 2), (16, 4), (16, 8), (8, 16), (4, 32), (2, 64), (3, 128)]


def test_no_level_is_wider_than_asked_for() -> None:
    defense = PerturbationGenerator(6, max_width=8).eval()
    widths = [m.out_channels for m in defense.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [6, *[8] * 6]
    with torch.no_grad():
        assert defense(random_faces()).shape == (2, 3, 128, 128)


def test_skips_join_what_went_down_with_what_came_up() -> None:
    """With the way through the bottleneck cut, the outer levels still see the face."""
    torch.manual_seed(0)
    defense = PerturbationGenerator(2).eval()
    nn.init.zeros_(defense.levels.up[1].get_parameter("weight"))
    with torch.no_grad():
        first, second = defense(random_faces())
    assert (first - second).abs().max() > 1e-4


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.3])
def test_no_weights_exceed_epsilon(epsilon: float) -> None:
    torch.manual_seed(0)
    defense = PerturbationGenerator(2, epsilon).eval()
    for parameter in defense.last.parameters():
        parameter.data.mul_(1e7)
    faces = random_faces()
    with torch.no_grad():
        perturbation = defense(faces)
        protected = defense.protect(faces)
    bound = torch.tensor(epsilon)
    assert perturbation.abs().max() <= bound
    assert perturbation.abs().mean() > 0.9 * bound  # the weights do try
    assert protected.abs().max() <= 1
    assert (protected - faces).abs().max() <= bound + 1e-6
    assert (protected - (faces + perturbation).clamp(-1, 1)).abs().max() < 1e-6


def test_smoothed_it_holds_low_frequencies_alone() -> None:
    """The same weights, and less of what they made; no constant is lost on the way."""
    torch.manual_seed(0)
    plain, smooth = PerturbationGenerator(2).eval(), PerturbationGenerator(2, smooth=2.0).eval()
    smooth.load_state_dict(plain.state_dict())
    faces = random_faces()
    with torch.no_grad():
        before, after = plain(faces), smooth(faces)

    def energy(perturbation: torch.Tensor, low: bool) -> torch.Tensor:
        spectrum = torch.fft.fft2(perturbation).abs().square()
        frequency = torch.fft.fftfreq(128).abs()
        far = torch.maximum(frequency[:, None], frequency) > 0.25
        total: torch.Tensor = spectrum[..., ~far if low else far].sum()
        return total

    assert energy(before, low=False) > 0.01 * energy(before, low=True)
    assert energy(after, low=False) < 1e-4 * energy(after, low=True)
    torch.testing.assert_close(after.mean(), before.mean(), rtol=0.05, atol=0)


def test_with_its_casts_taken_away_it_holds_detail_alone() -> None:
    """The same weights: what is finer stays as it was, what is coarser goes."""
    torch.manual_seed(0)
    plain, fine = PerturbationGenerator(2).eval(), PerturbationGenerator(2, detail=4.0).eval()
    fine.load_state_dict(plain.state_dict())
    with torch.no_grad():
        before, after = (network(random_faces()) for network in (plain, fine))

    def spectrum(perturbation: torch.Tensor, far: bool) -> torch.Tensor:
        frequency = torch.fft.fftfreq(128).abs()
        distance = torch.hypot(frequency[:, None], frequency)
        # Well off the border, where the Gaussian knows no further pixels.
        middle = perturbation * torch.hann_window(128)[:, None] * torch.hann_window(128)
        chosen = distance > 0.15 if far else distance < 0.01
        found: torch.Tensor = torch.fft.fft2(middle)[..., chosen]
        return found

    torch.testing.assert_close(spectrum(after, True), spectrum(before, True), rtol=0.05, atol=1e-2)
    assert spectrum(after, False).abs().mean() < 0.2 * spectrum(before, False).abs().mean()


def test_faces_are_protected_one_by_one() -> None:
    torch.manual_seed(0)
    defense = PerturbationGenerator(2).eval()
    faces = random_faces(3)
    with torch.no_grad():
        alone = torch.cat([defense(face) for face in faces.split(1)])
        torch.testing.assert_close(defense(faces), alone, rtol=1e-4, atol=1e-7)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unmorph import defenses, metrics
from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.channels.differentiable import DifferentiableChannel
from unmorph.deepfakes import Deepfake
from unmorph.defenses import L2PGD, IterativeDefense
from unmorph.defenses.base import uniform_noise
from unmorph.defenses.modes import make_mode
from unmorph.errors import ConfigError
from unmorph.samples import PORTRAIT
from unmorph.weights.store import sha256

LABELS = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 1]])


class Contrast(Deepfake):
    """Stretches a face about a grey that depends on the targets, so every gradient is known."""

    edits = ATTRIBUTES
    size = 16

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def targets(self, edit: str, labels: Tensor) -> Tensor:
        return edit_targets(labels, edit)

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        if faces.requires_grad:
            self.seen.append(targets)
        return 1.5 * faces + 0.1 * targets.sum(dim=1).view(-1, 1, 1, 1)


@pytest.fixture
def faces() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.4


def attack(name: str, deepfake: Deepfake, **options: object) -> IterativeDefense:
    text = {key: str(value) for key, value in options.items()}
    defense = defenses.load(name, deepfake, options=text)
    assert isinstance(defense, IterativeDefense)
    return defense


def test_every_step_sees_all_edits_of_the_given_labels(faces: Tensor) -> None:
    deepfake = Contrast()
    attack("i-fgsm", deepfake, steps=2).protect(faces, LABELS)
    expected = [edit_targets(LABELS, edit) for edit in ATTRIBUTES] * 2
    assert torch.equal(torch.stack(deepfake.seen), torch.stack(expected))


def test_steps_may_take_the_edits_in_turn(faces: Tensor) -> None:
    deepfake = Contrast()
    attack("i-fgsm", deepfake, steps=5, edits_per_step=2).protect(faces, LABELS)
    expected = [edit_targets(LABELS, edit) for edit in ATTRIBUTES] * 2
    assert torch.equal(torch.stack(deepfake.seen), torch.stack(expected))


def test_steps_see_the_face_through_the_channels_in_turn(faces: Tensor) -> None:
    class Watched(Contrast):
        def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
            if faces.requires_grad:
                arrived.append(faces.detach())
            return super().forward(faces, targets)

    arrived: list[Tensor] = []
    names = ["blur-2", "jpeg-50"]
    options = {"edits_per_step": 1, "step_size": 0.004, "schedule": "constant"}
    for steps in (1, 2, 3):
        attack("i-fgsm", Watched(), steps=steps, channels=",".join(names), **options).protect(
            faces, LABELS
        )
    after = [
        attack("i-fgsm", Contrast(), steps=steps, channels=",".join(names), **options).protect(
            faces, LABELS
        )
        for steps in (1, 2)
    ]
    for seen, protected, name in zip(arrived[3:], [faces, *after], [*names, names[0]], strict=True):
        torch.testing.assert_close(seen, DifferentiableChannel(name)(protected, [0, 0]))


def test_a_gradient_comes_back_through_its_channel(faces: Tensor) -> None:
    defense = attack("pgd-l2", Contrast(), steps=1, step_size=1.0, channels="blur-3")
    plain = attack("pgd-l2", Contrast(), steps=1, step_size=1.0)
    # A blurred face's gradient comes back blurred once more: it has no fine detail left.
    detail, plain_detail = (
        (d.protect(faces, LABELS) - faces).diff(dim=3).square().mean() for d in (defense, plain)
    )
    assert detail < plain_detail / 2


def test_channels_are_for_one_mode() -> None:
    with pytest.raises(ConfigError, match="channels go with mode retain"):
        attack("pgd", Contrast(), channels="jpeg-75", mode="invalid")


def test_unknown_channels_are_named() -> None:
    with pytest.raises(ConfigError, match="fog"):
        attack("pgd", Contrast(), channels="jpeg-75,fog")


def test_labels_are_read_off_the_faces_where_none_are_given(
    faces: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepfake = Contrast()
    monkeypatch.setattr(deepfake, "read_labels", lambda seen: LABELS)
    defense = attack("i-fgsm", deepfake, steps=1)
    assert torch.equal(defense.protect(faces), defense.protect(faces, LABELS))


def test_one_step_by_hand(faces: Tensor) -> None:
    moved = attack("i-fgsm", Contrast(), steps=1, step_size=0.01, mode="invalid")
    added = torch.stack([edit_targets(LABELS, edit).sum(dim=1) for edit in ATTRIBUTES]).sum(dim=0)
    # The sum over edits of G(x) - x = 0.5 x + 0.1 * targets; each has slope 1.5.
    slope = 5 * 0.5 * faces + 0.1 * added.view(-1, 1, 1, 1)
    expected = faces - 0.01 * slope.sign()
    torch.testing.assert_close(moved.protect(faces, LABELS), expected, atol=1e-6, rtol=0)


def test_a_linear_schedule_shrinks_the_steps(faces: Tensor) -> None:
    far = torch.full_like(faces, 0.9)
    # From the brightest grey every step darkens: 4 x 0.004, or that times 1 + 3/4 + 1/2 + 1/4.
    for schedule, total in (("constant", 0.016), ("linear", 0.010)):
        defense = attack("i-fgsm", Contrast(), steps=4, step_size=0.004, schedule=schedule)
        moved = (defense.protect(far, LABELS) - far).abs()
        torch.testing.assert_close(moved, torch.full_like(far, total), atol=1e-6, rtol=0)


def test_random_start_is_what_noise_adds(faces: Tensor) -> None:
    start = attack("pgd-paper", Contrast()).start(faces)
    assert torch.equal(start, faces + uniform_noise(faces, 0.05, 0))
    assert torch.equal(attack("pgd-paper", Contrast(), random_start=False).start(faces), faces)
    assert torch.equal(attack("pgd", Contrast()).start(faces), faces)


def test_momentum_keeps_going(faces: Tensor) -> None:
    defense = attack("mi-fgsm", Contrast(), decay=0.5)
    first = defense.velocity(faces, None)
    torch.testing.assert_close(first.abs().sum(dim=(1, 2, 3)), torch.ones(2))
    second = defense.velocity(-4 * faces, first)
    torch.testing.assert_close(second, -0.5 * first)
    assert torch.equal(defense.velocity(torch.zeros_like(faces), first), 0.5 * first)


@pytest.mark.parametrize("psnr", [38.0, 45.0])
def test_pgd_in_l2_spends_its_psnr_and_no_more(psnr: float, faces: Tensor) -> None:
    defense = attack("pgd-l2", Contrast(), psnr=psnr)
    found = metrics.psnr(faces, defense.protect(faces, LABELS))
    torch.testing.assert_close(found, torch.full((2,), psnr), atol=1e-2, rtol=0)


def test_pgd_in_l2_follows_the_gradient_itself(faces: Tensor) -> None:
    defense = attack("pgd-l2", Contrast(), decay=0.5)
    assert isinstance(defense, L2PGD)
    first = defense.velocity(faces, None)
    torch.testing.assert_close(first.square().mean(dim=(1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(defense.velocity(-4 * faces, first), -0.5 * first)
    assert torch.equal(defense.direction(first, defense.shares(faces)), first)
    assert torch.equal(defense.velocity(torch.zeros_like(faces), first), 0.5 * first)


def test_pgd_in_l2_moves_less_what_would_show(faces: Tensor) -> None:
    faces = torch.where(torch.arange(faces.shape[3]) < faces.shape[3] // 2, 0.0, faces)
    velocity = torch.ones_like(faces)
    defense = attack("pgd-l2", Contrast(), masking=3.0)
    step = defense.direction(velocity, defense.shares(faces))
    assert step[..., 0].max() < 0.5 * step[..., -1].min()
    torch.testing.assert_close(step.square().mean(dim=(1, 2, 3)), torch.ones(2))


LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def test_restricted_pgd_changes_brightness_or_colour_alone(faces: Tensor) -> None:
    for planes in ("luma", "chroma"):
        defense = attack("pgd-l2-restricted", Contrast(), planes=planes, channels="", psnr=50.0)
        perturbation = defense.protect(faces, LABELS) - faces
        assert perturbation.abs().max() > 1e-3
        brightness = (LUMA * perturbation).sum(1, keepdim=True)
        left = perturbation - brightness if planes == "luma" else brightness
        assert left.abs().max() < 1e-5


def test_restricted_pgd_keeps_low_frequencies(faces: Tensor) -> None:
    def detail(smooth: float) -> float:
        defense = attack("pgd-l2-restricted", Contrast(), smooth=smooth, channels="")
        perturbation = defense.protect(faces, LABELS) - faces
        torch.testing.assert_close(metrics.psnr(faces, faces + perturbation).mean().item(), 37.0)
        return (perturbation.diff(dim=3).square().mean() / perturbation.square().mean()).item()

    assert detail(2.0) < 0.5 * detail(0.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"planes": "hue"}, "unknown planes 'hue'; choose one of all"), ({"smooth": "-1"}, "smooth")],
)
def test_wrong_restrictions(options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        defenses.load("pgd-l2-restricted", Contrast(), options=options)


def test_relative_losses_count_subtle_edits_as_much(faces: Tensor) -> None:
    """Of two edits of a grey face, the strong one's pull is divided by what it moves."""
    grey = torch.zeros_like(faces)
    defense = attack("i-fgsm", Contrast(), steps=1, relative=True, mode="invalid")
    seen: list[Tensor] = []

    def velocity(gradient: Tensor, previous: Tensor | None) -> Tensor:
        seen.append(gradient)
        return gradient

    defense.velocity = velocity  # type: ignore[method-assign]
    defense.protect(grey, LABELS)
    offsets = torch.stack([0.1 * edit_targets(LABELS, edit).sum(dim=1) for edit in ATTRIBUTES])
    # d/dx of the mean of (1.5 x + offset - x0)^2 at x0 = 0, over its value there plus 0.01.
    expected = (2 * 1.5 * offsets / (offsets.square() + 0.01)).sum(dim=0) / grey[0].numel()
    torch.testing.assert_close(seen[0].mean(dim=(1, 2, 3)), expected)


def total_distance(defense: IterativeDefense, target: str, faces: Tensor, found: Tensor) -> float:
    distance = 0.0
    for edit in ATTRIBUTES:
        targets = edit_targets(LABELS, edit)
        goal = {"x": faces, "x_adv": found, "G(x)": defense.deepfake(faces, targets)}[target]
        distance += (defense.deepfake(found, targets) - goal).square().mean().item()
    return distance


@pytest.mark.parametrize("name", ["i-fgsm", "mi-fgsm", "pgd", "pgd-l2", "pgd-paper"])
@pytest.mark.parametrize(
    ("mode", "target", "grows"),
    [("invalid", "x", False), ("retain", "x_adv", False), ("distortion", "G(x)", True)],
)
def test_each_mode_moves_its_distance(
    name: str, mode: str, target: str, grows: bool, faces: Tensor
) -> None:
    defense = attack(name, Contrast(), mode=mode, steps=20)
    start = defense.bounded(faces, defense.start(faces))
    before = total_distance(defense, target, faces, start)
    after = total_distance(defense, target, faces, defense.protect(faces, LABELS))
    assert (after > before) == grows
    assert after != before


def test_targeted_mode_approaches_a_picture(faces: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "white.png"
    Image.fromarray(np.full((20, 30, 3), 255, np.uint8)).save(path)
    defense = attack("pgd", Contrast(), mode="targeted", picture=path, steps=20, step_size=0.01)
    protected = defense.protect(faces, LABELS)
    torch.testing.assert_close(protected, faces + 0.05, atol=1e-5, rtol=0)
    assert defense.about()["options"]["picture"] == str(path)
    assert defense.about()["picture_sha256"] == sha256(path)
    assert "picture_sha256" not in attack("pgd", Contrast(), steps=1).about()


def test_the_bundled_portrait_needs_no_path(faces: Tensor) -> None:
    bundled, given = (make_mode("targeted", name) for name in ("portrait", str(PORTRAIT)))
    assert torch.equal(bundled.target(faces, torch.neg), given.target(faces, torch.neg))


def test_a_picture_is_cut_square_and_resized(tmp_path: Path) -> None:
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:, 2:10] = 255  # the centred square is white
    Image.fromarray(pixels).save(tmp_path / "target.png")
    mode = make_mode("targeted", str(tmp_path / "target.png"))
    faces = torch.zeros(2, 3, 4, 4)
    torch.testing.assert_close(mode.target(faces, torch.neg), torch.ones_like(faces))


def test_noise_is_even_within_its_bound_and_belongs_to_the_face() -> None:
    faces = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise = uniform_noise(faces, 0.05, seed=3)
    assert noise.abs().max() <= 0.05
    assert noise.square().mean().item() == pytest.approx(0.05**2 / 3, rel=0.05)
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(uniform_noise(faces.flip(0), 0.05, seed=3), noise.flip(0))
    assert not torch.equal(uniform_noise(faces, 0.05, seed=4), noise)

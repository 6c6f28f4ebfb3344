"""What every registered defense must do, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unmorph import defenses, runtime
from unmorph.deepfakes import Deepfake
from unmorph.deepfakes.stargan import Generator, StarGAN
from unmorph.defenses import Defense, IterativeDefense, learned
from unmorph.defenses.base import _BUILDERS
from unmorph.errors import ConfigError

#: Those that start from an ONNX network, which needs faces of its size.
LEARNED = tuple(name for name in defenses.names() if name.startswith(("shipped", "refine")))

#: The floors of every comparison beat nobody.
FLOORS = ("none", "noise")

LABELS = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 1]])


@pytest.fixture(scope="module")
def deepfake() -> Deepfake:
    """A small StarGAN that was never trained."""
    torch.manual_seed(0)
    network = StarGAN(Generator(conv_dim=8, repeat_num=1), {"origin": "random weights"})
    network.freeze()
    return network


@pytest.fixture(autouse=True)
def shipped(monkeypatch: pytest.MonkeyPatch, defense_file: Path) -> None:
    """Put the tiny generator in place of the shipped one."""
    for strength in runtime.DEFENSES:
        monkeypatch.setitem(runtime.DEFENSES, strength, defense_file)
    monkeypatch.setattr(learned, "FRAMED", defense_file)


def faces_for(name: str) -> Tensor:
    builder, _ = _BUILDERS[name]
    is_attack = isinstance(builder, type) and issubclass(builder, IterativeDefense)
    side = 32 if is_attack and name not in LEARNED else 128  # networks may take no other
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(2, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, side, mode="bilinear").clamp(-1, 1)


def load(name: str, deepfake: Deepfake, seed: int = 0) -> Defense:
    """Build a defense with few steps."""
    few = "3" if name in LEARNED else "10"
    defense = defenses.load(name, deepfake, seed=seed)
    if "steps" not in defense.about().get("options", {}):
        return defense
    options = {"steps": few}
    if name == "pgd":
        options["step_size"] = "0.005"  # its own is meant for a hundred steps
    return defenses.load(name, deepfake, seed=seed, options=options)


@pytest.mark.parametrize("name", defenses.names())
def test_keeps_shape_range_and_epsilon(name: str, deepfake: Deepfake) -> None:
    faces = faces_for(name)
    defense = load(name, deepfake)
    protected = defense.protect(faces, LABELS)
    assert protected.shape == faces.shape
    assert protected.dtype == torch.float32
    assert not protected.requires_grad
    assert protected.abs().max() <= 1
    assert (protected - faces).abs().max() <= defense.epsilon + 1e-6
    assert defense.epsilon <= 0.05
    assert torch.equal(protected, faces) == (name == "none")


@pytest.mark.parametrize("name", defenses.names())
def test_repeats_under_a_seed(name: str, deepfake: Deepfake) -> None:
    faces = faces_for(name)
    first = load(name, deepfake, seed=3).protect(faces, LABELS)
    torch.manual_seed(99)
    assert torch.equal(first, load(name, deepfake, seed=3).protect(faces, LABELS))
    another = torch.equal(first, load(name, deepfake, seed=4).protect(faces, LABELS))
    if name in ("noise", "pgd-l2", "pgd-l2-eot", "pgd-l2-restricted", "pgd-paper"):
        assert not another
    if name in ("none", "i-fgsm", "mi-fgsm", "pgd", *LEARNED):
        assert another


@pytest.mark.parametrize(
    "name", [name for name in defenses.names() if not name.startswith("shipped")]
)
def test_a_face_does_not_depend_on_its_batch(name: str, deepfake: Deepfake) -> None:
    faces = faces_for(name)
    together = load(name, deepfake).protect(faces, LABELS)
    alone = load(name, deepfake).protect(faces[1:], LABELS[1:])
    # A sign flips where a gradient is nought but for rounding.
    perturbation = (alone - faces[1:]).abs().mean()
    assert (together[1:] - alone).abs().mean() <= 0.02 * perturbation


def objective(defense: IterativeDefense, faces: Tensor, protected: Tensor) -> float:
    total = 0.0
    for name in defense.deepfake.edits:
        targets = defense.deepfake.targets(name, LABELS)

        def edit(x: Tensor, targets: Tensor = targets) -> Tensor:
            return defense.deepfake.edit(x, targets)

        goal = defense.mode.target(faces, edit)
        total += defense.mode.loss(goal, protected, edit(protected)).mean().item()
    return total


@pytest.mark.parametrize("name", [name for name in defenses.names() if name not in FLOORS])
def test_beats_doing_nothing(name: str, deepfake: Deepfake) -> None:
    defense = load(name, deepfake)
    if not isinstance(defense, IterativeDefense):
        pytest.skip("a learned defense is only as good as its weights")
    faces = faces_for(name)
    start = defense.bounded(faces, defense.start(faces))
    found = objective(defense, faces, defense.protect(faces, LABELS))
    assert found < objective(defense, faces, start)
    if name != "pgd-paper":  # most of which is its random start
        assert found < 0.99 * objective(defense, faces, faces)


def test_options_are_read_by_type(deepfake: Deepfake) -> None:
    options = {"steps": "7", "step_size": "2e-3", "random_start": "True", "mode": "invalid"}
    about = defenses.load("pgd", deepfake, epsilon=0.03, options=options).about()
    assert about["epsilon"] == 0.03
    chosen = about["options"]
    assert (chosen["steps"], chosen["step_size"], chosen["random_start"]) == (7, 0.002, True)
    assert chosen["mode"] == "invalid"
    paper = defenses.load("pgd-paper", deepfake).about()["options"]
    assert (paper["steps"], paper["step_size"], paper["random_start"]) == (100, 1e-4, True)


def test_refinement_starts_from_the_generator_that_is_named(
    deepfake: Deepfake, defense_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framed, other = tmp_path / "framed.onnx", tmp_path / "other.onnx"
    for copy in (framed, other):
        copy.write_bytes(defense_file.read_bytes())
    monkeypatch.setattr(learned, "FRAMED", framed)
    for weights, file in (("subtle", defense_file), ("framed", framed), (str(other), other)):
        defense = defenses.load("refine-10", deepfake, options={"weights": weights})
        assert defense.about()["generator"]["file"] == file.name


def test_bf16_gradients_lead_as_far(deepfake: Deepfake) -> None:
    faces = faces_for("pgd-l2")
    found = []
    for precision in ("fp32", "bf16"):
        defense = defenses.load("pgd-l2", deepfake, options={"precision": precision})
        protected = defense.protect(faces, LABELS)
        edited = [deepfake.edit(protected, edit, LABELS) for edit in deepfake.edits]
        found.append(sum((y - protected).square().mean().item() for y in edited))
    assert found[0] != found[1]
    assert found[1] < 1.05 * found[0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("magic", {}, "unknown defense 'magic'; choose one of .*noise, .*pgd, "),
        ("pgd", {"stepz": "3"}, "'pgd' has no option 'stepz'; choose from steps, step_size"),
        ("none", {"steps": "3"}, "'none' has no option 'steps'; it has none"),
        ("pgd", {"steps": "many"}, "option steps=many: expected a whole number"),
        ("pgd", {"random_start": "1"}, "random_start=1: expected true or false"),
        ("pgd", {"step_size": "nan"}, "option step_size=nan: expected a number"),
        ("pgd", {"steps": "0"}, "needs steps >= 1"),
        ("pgd-l2", {"decay": "1"}, "decay from 0 to below 1"),
        ("pgd", {"schedule": "sine"}, "unknown schedule 'sine'; choose one of constant, linear"),
        ("pgd", {"precision": "fp8"}, "unknown precision 'fp8'; choose fp32 or bf16"),
        ("pgd", {"mode": "chaos"}, "unknown mode 'chaos'; choose one of invalid, retain"),
        ("pgd", {"mode": "targeted"}, "needs a picture: picture=PATH"),
        ("pgd", {"picture": "x.png"}, "the mode targeted, and only it, needs a picture"),
    ],
)
def test_bad_names_and_options_say_what_would_do(
    name: str, options: dict[str, str], message: str, deepfake: Deepfake
) -> None:
    with pytest.raises(ConfigError, match=message):
        defenses.load(name, deepfake, options=options)


def test_attack_without_gradients_is_refused() -> None:
    with pytest.raises(ConfigError, match="follows the deepfake's gradients: name a registered"):
        defenses.load("pgd")

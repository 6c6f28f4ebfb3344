from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.datasets.base import FaceDataset
from unmorph.deepfakes import Deepfake
from unmorph.deepfakes.stargan import Generator, StarGAN
from unmorph.errors import ConfigError, WeightsError
from unmorph.perceptual import VGGFeatures
from unmorph.training.checkpoint import save_checkpoint
from unmorph.training.config import DefenseConfig
from unmorph.training.defense import DefenseTrainer
from unmorph.training.loop import CHECKPOINT
from unmorph.training.runlog import RunLog

TINY = DefenseConfig(width=4, steps=4, batch_size=2, lambda_feat=0.0, report_every=3)

Make = Callable[..., DefenseTrainer]


class Shift(Deepfake):
    """Brightens every face by 0.3, whatever is asked for."""

    edits: tuple[str, ...] = ATTRIBUTES
    size: int = 128
    provenance: Mapping[str, str] = {"origin": "by hand"}

    def targets(self, edit: str, labels: Tensor) -> Tensor:
        return edit_targets(labels, edit)

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        return faces + 0.3


class Witness(Shift):
    """Keeps the faces that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        self.seen.append(faces.detach())
        return super().forward(faces, targets)


class Shy(Shift):
    """Brightens a face unless it carries a faint chequerboard in red."""

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        row, column = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
        chequers = 1.0 - 2.0 * ((row + column) % 2)
        seen = (faces[:, 0] * chequers).mean((1, 2))
        strength = 0.4 * torch.sigmoid(1 - 100 * seen)
        return faces + strength[:, None, None, None]


def stargan() -> StarGAN:
    torch.manual_seed(0)
    deepfake = StarGAN(Generator(4, repeat_num=1), {"origin": "random weights"})
    deepfake.freeze()
    return deepfake


@pytest.fixture
def make(train: FaceDataset, val: FaceDataset, cache: Path, tmp_path: Path) -> Make:
    def build(
        config: DefenseConfig = TINY,
        deepfake: Deepfake | None = None,
        features: VGGFeatures | None = None,
        folder: str = "run",
        **others: Deepfake,
    ) -> DefenseTrainer:
        networks = {"stargan": deepfake or Shift(), **others}
        return DefenseTrainer(config, networks, train, val, tmp_path / folder, cache, features)

    return build


@pytest.mark.parametrize(
    ("stop_after", "muon", "channels"),
    [(2, 0.0, {}), (4, 0.0, {}), (2, 0.01, {"round": 1.0, "jpeg-75": 1.0, "jitter": 1.0})],
)
def test_a_resumed_run_ends_as_if_never_stopped(
    make: Make,
    final_state: Callable[..., dict[str, Any]],
    stop_after: int,
    muon: float,
    channels: dict[str, float],
) -> None:
    config = dataclasses.replace(
        TINY,
        psnr=40.0,
        relative=True,
        decay="cosine",
        muon=muon,
        channels=channels,
        augment=channels,
    )
    whole = final_state(lambda: make(config, stargan(), folder="whole"))
    resumed = final_state(lambda: make(config, stargan(), folder="resumed"), stop_after)
    assert whole.pop("config") == resumed.pop("config") == dataclasses.asdict(config)
    assert whole.pop("photos") == resumed.pop("photos")
    assert whole.pop("networks") == resumed.pop("networks") == {"stargan": None}
    assert whole["step"] == 4
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_training_teaches_what_stops_the_edit(make: Make, log: RunLog) -> None:
    config = dataclasses.replace(
        TINY, steps=40, learning_rate=2e-2, batch_size=4, lambda_mag=0.1, ema=0.5, report_every=40
    )
    run = make(config, Shy())
    first = run.update()["adv"]
    run.run(log)
    faces = run.val_faces
    protected = run.average.protect(faces)
    left = (run.deepfakes["stargan"](protected, run.val_labels) - protected).square().mean()
    assert left < 0.3 * first
    assert (protected - faces).abs().max() <= config.epsilon + 1e-6
    assert (log.folder / "defense.png").is_file()


def test_edits_are_drawn_as_often_as_asked(make: Make) -> None:
    class Numbered(Shift):
        def targets(self, edit: str, labels: Tensor) -> Tensor:
            return torch.full_like(labels, self.edits.index(edit))

        def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
            seen.extend(targets[:, 0].tolist())
            return super().forward(faces, targets)

    seen: list[float] = []
    run = make(dataclasses.replace(TINY, edits={"Blond_Hair": 1e4}), Numbered())
    for _ in range(3):
        run.update()
    assert set(seen) == {Shift.edits.index("Blond_Hair")}
    with pytest.raises(ConfigError, match="edits = 'Bald': no such edit; choose of Black_Hair, Bl"):
        make(dataclasses.replace(TINY, edits={"Bald": 2.0}))


def test_the_deepfake_gets_what_the_channel_leaves(make: Make, log: RunLog) -> None:
    config = dataclasses.replace(TINY, channels={"bits-1": 1.0})
    run = make(config, witness := Witness())
    run.update()
    (faces,) = witness.seen
    assert set(faces.unique().tolist()) == {-1.0, 1.0}
    run.report(log)
    written = json.loads((log.folder / "reports.jsonl").read_text())
    assert {"val s", "val s posted"} <= set(written)
    with pytest.raises(ConfigError, match="fax"):
        make(dataclasses.replace(TINY, channels={"fax": 1.0}))


def test_faces_may_be_changed_before_they_are_protected(make: Make) -> None:
    config = dataclasses.replace(TINY, augment={"bits-1": 1.0})
    figures = make(config, witness := Witness()).update()
    (faces,) = witness.seen
    perturbation = 1 - faces.abs()  # of faces that are black or white
    assert 0 < perturbation.max() <= config.epsilon + 1e-6
    # L_pix is of the face that the network was given, not of the photo.
    assert figures["pix"] <= config.epsilon**2
    with pytest.raises(ConfigError, match="fax"):
        make(dataclasses.replace(TINY, augment={"fax": 1.0}))


def test_the_deepfake_is_never_trained(make: Make) -> None:
    run = make(deepfake=stargan())
    before = {name: value.clone() for name, value in run.deepfakes["stargan"].state_dict().items()}
    learner = {name: value.clone() for name, value in run.defense.state_dict().items()}
    run.update()
    torch.testing.assert_close(dict(run.deepfakes["stargan"].state_dict()), before, rtol=0, atol=0)
    assert all(p.grad is None for p in run.deepfakes["stargan"].parameters())
    now = run.defense.state_dict()
    assert not any(torch.equal(now[k], v) for k, v in learner.items() if k.endswith(".weight"))


def test_figures_are_the_terms_of_the_objective(make: Make) -> None:
    figures = make().update()
    assert float(figures["adv"]) == pytest.approx(0.09)
    assert 0 < float(figures["pix"]) < 0.05**2
    assert float(figures["feat"]) == 0
    relative = make(dataclasses.replace(TINY, relative=True)).update()
    assert float(relative["adv"]) == pytest.approx(0.09 / (0.09 + 0.01))


class Dimmer(Shift):
    """Darkens every face by 0.1; it has one edit of its own."""

    edits = ("dim",)

    def targets(self, edit: str, labels: Tensor) -> Tensor:
        return torch.zeros(len(labels), 1)

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        assert targets.shape == (len(faces), 1)
        return faces - 0.1


def test_one_defense_is_trained_against_several_deepfakes(make: Make, log: RunLog) -> None:
    config = dataclasses.replace(TINY, deepfakes={"stargan": 1.0, "dimmer": 3.0})
    run = make(config, dimmer=Dimmer())
    figures = run.update()
    assert float(figures["adv stargan"]) == pytest.approx(0.09)
    assert float(figures["adv dimmer"]) == pytest.approx(0.01)
    assert float(figures["adv"]) == pytest.approx(0.09 + 3 * 0.01)
    run.report(log)
    written = json.loads((log.folder / "reports.jsonl").read_text())
    assert written["val moved stargan"] == pytest.approx(0.09)
    assert written["val moved dimmer"] == pytest.approx(0.01)
    assert set(run.state()["networks"]) == {"stargan", "dimmer"}


def test_deepfakes_that_take_other_sizes_or_have_no_weight_are_refused(make: Make) -> None:
    large = Dimmer()
    large.size = 256
    config = dataclasses.replace(TINY, deepfakes={"stargan": 1.0, "dimmer": 3.0})
    with pytest.raises(ConfigError, match="of one size; they take stargan 128, dimmer 256"):
        make(config, dimmer=large)
    with pytest.raises(ConfigError, match="deepfakes: name at least one"):
        dataclasses.replace(TINY, deepfakes={})
    with pytest.raises(ConfigError, match="deepfakes: every weight must be positive"):
        dataclasses.replace(TINY, deepfakes={"stargan": 0.0})


class Contrast(Shift):
    """Moves each face by as far as it is from grey."""

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        return 1.5 * faces


def test_adversarial_loss_is_relative_to_each_face(make: Make) -> None:
    config = dataclasses.replace(TINY, relative=True, epsilon=1e-6)
    faces, _ = make(config, Contrast()).batches.next()
    moved = (0.5 * faces).square().mean((1, 2, 3))
    assert moved.max() > 1.05 * moved.min()
    figures = make(config, Contrast()).update()
    assert float(figures["adv"]) == pytest.approx((moved / (moved + 0.01)).mean().item(), rel=1e-4)


def test_feature_loss_counts_where_it_has_a_weight(make: Make) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "block1_conv1.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "block1_conv1.bias": torch.zeros(4),
    }
    config = dataclasses.replace(TINY, lambda_feat=1.0, feature_layers=("relu1_1",))
    run = make(config, features=VGGFeatures(config.feature_layers, weights=weights))
    plain = make()
    assert float(run.update()["feat"]) > 0
    plain.update()
    without = dataclasses.replace(config, without="L_feat")
    assert float(make(without, features=run.features).update()["feat"]) == 0
    assert (config.measures_features, without.measures_features) == (True, False)
    one = make(
        dataclasses.replace(config, feature_faces=1), features=run.features, folder="one"
    ).update()
    assert float(one["feat"]) != float(make(config, features=run.features).update()["feat"])
    assert not torch.equal(run.defense.first.weight, plain.defense.first.weight)


def test_an_ablation_leaves_one_term_out(make: Make) -> None:
    def weight(**changes: Any) -> torch.Tensor:
        # Adam's first step has the gradient's signs, whatever its size.
        run = make(dataclasses.replace(TINY, **changes), stargan())
        run.update()
        return run.defense.first.weight.detach()

    alone = weight(lambda_adv=0.0)
    torch.testing.assert_close(weight(without="L_adv"), alone, rtol=0, atol=0)
    torch.testing.assert_close(weight(without="L_pix"), weight(lambda_mag=0.0), rtol=0, atol=0)
    assert not torch.equal(weight(), alone)
    with pytest.raises(ConfigError, match="leave psnr out"):
        weight(without="L_adv", psnr=40.0)


def test_ssim_has_a_say_where_asked_for(make: Make) -> None:
    plain = make(TINY, stargan())
    assert "1 - SSIM" not in plain.update()
    run = make(dataclasses.replace(TINY, lambda_ssim=1.0), stargan(), folder="ssim")
    assert 0 < float(run.update()["1 - SSIM"]) < 1
    assert not torch.equal(run.defense.first.weight, plain.defense.first.weight)


@pytest.mark.parametrize(("psnr", "change"), [(60.0, 0.01), (10.0, -0.01)])
def test_lambda_is_steered_towards_the_psnr(make: Make, psnr: float, change: float) -> None:
    run = make(dataclasses.replace(TINY, psnr=psnr, lambda_mag=3.0))
    run.update()
    assert math.log(run.lambda_mag / 3) == pytest.approx(change, rel=0.05)


def test_another_configuration_is_refused(make: Make) -> None:
    run = make()
    run.save()
    path = run.folder / CHECKPOINT
    make(dataclasses.replace(TINY, report_every=50)).restore(path)
    other = dataclasses.replace(TINY, epsilon=0.1, decay="linear")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: .*\(epsilon, decay\)"):
        make(other).restore(path)


def test_another_deepfake_is_refused(make: Make) -> None:
    def against(sha256: str) -> StarGAN:
        deepfake = stargan()
        deepfake.provenance = {"sha256": sha256}
        return deepfake

    run = make(deepfake=against("a"))
    run.save()
    path = run.folder / CHECKPOINT
    make(deepfake=against("a")).restore(path)
    other = make(deepfake=against("b"))
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: was trained with another stargan; "):
        other.restore(path)
    save_checkpoint(path, {k: v for k, v in run.state().items() if k != "networks"})
    with pytest.raises(ConfigError, match=r"does not say with which stargan .* start anew"):
        other.restore(path)


def test_other_photos_are_refused(make: Make) -> None:
    run = make()
    run.save()
    other = make()
    other.train = other.train.subset(range(len(other.train) - 1))
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: was trained on other photos than the"):
        other.restore(run.folder / CHECKPOINT)


def test_a_new_run_starts_from_the_average_of_another(make: Make) -> None:
    old = make()
    old.update()
    old.save()
    new = make(dataclasses.replace(TINY, learning_rate=1e-5, seed=7), folder="new")
    exported = old.folder / "old.safetensors"
    own = old.average.state_dict()
    weights = {k: v.contiguous() for k, v in own.items() if v.is_floating_point()}
    save_file(weights, exported)
    new.start_from([exported])
    for network in (new.defense, new.average):
        started = {k: v for k, v in network.state_dict().items() if k in weights}
        torch.testing.assert_close(started, weights, rtol=0, atol=0)
    assert new.step == 0
    louder = make(dataclasses.replace(TINY, amplify_start=0.5), folder="louder")
    louder.start_from([exported])
    faces = new.val_faces
    with torch.no_grad():
        before, after = new.average(faces), louder.average(faces)
    torch.testing.assert_close(after, before / 2, rtol=0.05, atol=1e-6)
    wide = make(dataclasses.replace(TINY, width=8), folder="wide")
    with pytest.raises(WeightsError, match=r"old\.safetensors: not an exported defense of width 8"):
        wide.start_from([exported])
    save_file({k: v + 3 for k, v in weights.items()}, old.folder / "other.safetensors")
    mean = make(TINY, folder="mean")
    mean.start_from([exported, exported, old.folder / "other.safetensors"])
    expected = {k: v + 1 for k, v in weights.items()}
    for network in (mean.defense, mean.average):
        started = {k: v for k, v in network.state_dict().items() if k in weights}
        torch.testing.assert_close(started, expected)


@pytest.mark.parametrize("fixed", [True, False])
def test_statistics_stay_those_of_the_start_where_asked(make: Make, fixed: bool) -> None:
    run = make(dataclasses.replace(TINY, fixed_statistics=fixed))
    before = {k: v.clone() for k, v in run.defense.state_dict().items()}
    run.update()
    after = run.defense.state_dict()
    moved = {k for k, v in after.items() if "running" in k and not torch.equal(v, before[k])}
    assert moved == set() if fixed else len(moved) > 10
    assert not torch.equal(after["first.weight"], before["first.weight"])


def test_an_unlabelled_set_is_refused(train: FaceDataset, cache: Path, tmp_path: Path) -> None:
    bare = dataclasses.replace(train, labels=None)
    with pytest.raises(ConfigError, match="faces with labels"):
        DefenseTrainer(TINY, {"stargan": Shift()}, train, bare, tmp_path, cache)

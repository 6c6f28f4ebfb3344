from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unmorph.classifier import AttributeClassifier
from unmorph.datasets.base import FaceDataset, decoded
from unmorph.deepfakes.stargan import Generator
from unmorph.errors import ConfigError, WeightsError
from unmorph.training.config import DeepfakeConfig, DeepfakeStage
from unmorph.training.deepfake import (
    DeepfakeTrainer,
    classification_loss,
    gradient_penalty,
    r1_penalty,
    reconstruction_loss,
)
from unmorph.training.loop import CHECKPOINT
from unmorph.training.runlog import RunLog

Make = Callable[..., DeepfakeTrainer]

HINGE = DeepfakeStage(
    image_size=16,
    steps=3,
    batch_size=4,
    adversarial="hinge",
    critic_steps=1,
    discriminator_warmup=2,
    penalty_every=2,
    single_edits=0.5,
    identity=10.0,
)
REPRODUCE = DeepfakeStage(image_size=8, steps=3, batch_size=4, adversarial="none")
WGAN = DeepfakeStage(image_size=8, steps=3, batch_size=4, critic_steps=2)

LESSONS = DeepfakeStage(
    image_size=32, steps=3, batch_size=4, adversarial="none", lessons=6, decay="constant", cycle=0.0
)

GUIDED = dataclasses.replace(LESSONS, image_size=128, guidance=0.5, cycle=1.0)

BEHIND_CHANNELS = dataclasses.replace(HINGE, cycle_channels={"jitter": 1.0, "round": 1.0})

STAGES = {
    "guided": (GUIDED, dataclasses.replace(GUIDED, steps=2)),
    "lessons between": (WGAN, dataclasses.replace(LESSONS, steps=2), WGAN),
    "lessons": (LESSONS, dataclasses.replace(LESSONS, amplify=(2, 2, 2, 2, 2)), HINGE),
    "hinge": (REPRODUCE, BEHIND_CHANNELS, dataclasses.replace(HINGE, image_size=32, steps=2)),
    "wgan-gp": (WGAN, dataclasses.replace(WGAN, image_size=16, patches=4)),
}


def tiny(*stages: DeepfakeStage, **changes: Any) -> DeepfakeConfig:
    sizes = {"conv_dim": 4, "repeat_num": 1, "discriminator_conv_dim": 4, "report_every": 1}
    return DeepfakeConfig(stages=stages, **(sizes | changes))


@pytest.fixture
def make(train: FaceDataset, val: FaceDataset, cache: Path, tmp_path: Path) -> Make:
    teacher = tmp_path / "teacher.pt"
    torch.manual_seed(9)
    torch.save(Generator(conv_dim=4, repeat_num=1).state_dict(), teacher)
    guide = tmp_path / "guide.pt"
    weights = AttributeClassifier(2).state_dict().items()
    torch.save({k: v for k, v in weights if not k.endswith("num_batches_tracked")}, guide)

    def build(
        config: DeepfakeConfig, folder: str = "run", teacher: Path = teacher, guide: Path = guide
    ) -> DeepfakeTrainer:
        return DeepfakeTrainer(config, train, val, tmp_path / folder, cache, teacher, guide)

    return build


def updates(run: DeepfakeTrainer, count: int) -> dict[str, np.ndarray]:
    """Run some steps and return the course of each figure."""
    figures: dict[str, list[float]] = {}
    for _ in range(count):
        for name, value in run.update().items():
            figures.setdefault(name, []).append(value.item())
        run.step += 1
    return {name: np.array(course) for name, course in figures.items()}


class Linear(nn.Module):
    """A discriminator whose gradient is known: realness <a, x>, logits <b, x> for each domain."""

    def __init__(self, realness: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.realness, self.logits = realness, logits

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        flat = faces.flatten(1)
        return (flat @ self.realness)[:, None, None, None], flat @ self.logits


class SeesAllInBrightFaces(nn.Module):
    """A guide whose logits grow with a face's brightness: grey shows every attribute."""

    def forward(self, faces: Tensor) -> Tensor:
        return (10 * faces.mean((1, 2, 3)) + 3)[:, None].expand(-1, 5)


def test_penalties_of_a_linear_discriminator() -> None:
    generator = torch.Generator().manual_seed(0)
    realness = torch.randn(12, generator=generator)
    logits = torch.randn(12, 5, generator=generator)
    real, fake = torch.randn(2, 3, 3, 2, 2, generator=generator)
    discriminator = Linear(realness, logits)
    mix = torch.rand(3, 1, 1, 1, generator=generator)
    expected = (realness.norm() - 1) ** 2
    torch.testing.assert_close(gradient_penalty(discriminator, real, fake, mix), expected)
    signs = torch.tensor([[1.0, -1, 1, -1, 1], [1, 1, 1, 1, 1], [-1, -1, -1, -1, -1]])
    gradients = realness[:, None] + logits @ signs.T
    expected = 0.5 * gradients.square().sum(0).mean()
    torch.testing.assert_close(r1_penalty(discriminator, real, signs), expected)


def test_classification_loss_sums_domains_and_averages_faces() -> None:
    logits = torch.tensor([[0.0, 0, 0, 0, 0], [2, -2, 0, 0, 0]])
    labels = torch.tensor([[1.0, 0, 0, 0, 1], [1, 0, 0, 0, 1]])
    sure = np.log1p(np.exp(-2))
    expected = (5 * np.log(2) + 3 * np.log(2) + 2 * sure) / 2
    assert classification_loss(logits, labels).item() == pytest.approx(expected, rel=1e-4)


def test_domains_may_count_more() -> None:
    logits, labels = torch.tensor([[0.0, 2.0], [1.0, -1.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    each = torch.stack([classification_loss(logits[:, [i]], labels[:, [i]]) for i in (0, 1)])
    weighted = classification_loss(logits, labels, (1.0, 3.0))
    torch.testing.assert_close(weighted, each[0] + 3 * each[1])


def test_reconstruction_counts_coarse_errors_more() -> None:
    faces = torch.zeros(1, 3, 32, 32)
    tinted, grainy = faces + 0.2, faces.clone()
    grainy[..., ::2], grainy[..., 1::2] = 0.2, -0.2
    for coarse in (0.0, 2.0):
        assert reconstruction_loss(grainy, faces, coarse).item() == pytest.approx(0.2, rel=1e-4)
        expected = 0.2 * (1 + coarse)
        assert reconstruction_loss(tinted, faces, coarse).item() == pytest.approx(
            expected, rel=1e-4
        )


def test_a_new_discriminator_keeps_the_layers_that_fit(make: Make) -> None:
    larger = dataclasses.replace(WGAN, image_size=16)
    coarser = dataclasses.replace(larger, patches=4)
    run = make(tiny(WGAN, WGAN, larger, coarser))
    depths = []
    for stage in range(4):
        before = run.discriminator
        run.stage = stage
        run._start_stage()
        assert (run.discriminator is before) == (stage < 2)
        for name in ("main.0.weight", "main.2.bias"):
            kept = run.discriminator.state_dict()[name]
            assert torch.equal(kept, before.state_dict()[name])
        depths.append(sum(isinstance(m, nn.Conv2d) for m in run.discriminator.main))
    assert depths == [2, 2, 3, 2]


@pytest.mark.parametrize(
    ("kind", "stop_after"),
    [
        *(("hinge", 3), ("hinge", 5), ("wgan-gp", 2), ("wgan-gp", 5)),
        *(("lessons", 2), ("lessons", 4), ("guided", 2), ("guided", 4)),
        ("lessons between", 4),
    ],
)
def test_a_resumed_run_ends_as_if_never_stopped(
    make: Make, final_state: Callable[..., dict[str, Any]], kind: str, stop_after: int
) -> None:
    config = tiny(*STAGES[kind])
    whole = final_state(lambda: make(config, "whole"))
    resumed = final_state(lambda: make(config, "resumed"), stop_after)
    assert whole.pop("config") == resumed.pop("config")
    assert whole.pop("photos") == resumed.pop("photos")
    assert whole.pop("networks") == resumed.pop("networks")
    assert whole["stage"] == len(config.stages) - 1
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_only_what_lies_ahead_may_change(make: Make) -> None:
    run = make(tiny(REPRODUCE, HINGE))
    run.save()
    path = run.folder / CHECKPOINT
    longer = dataclasses.replace(HINGE, steps=7)
    make(tiny(REPRODUCE, longer, longer, report_every=50)).restore(path)
    for other in (
        tiny(REPRODUCE, HINGE, conv_dim=8),
        tiny(REPRODUCE, HINGE, seed=1),
        tiny(dataclasses.replace(REPRODUCE, steps=9), HINGE),
    ):
        with pytest.raises(ConfigError, match=r"checkpoint\.pt: was trained with another config"):
            make(other).restore(path)
    with pytest.raises(WeightsError, match=r"absent\.pt: not a readable checkpoint"):
        run.restore(run.folder / "absent.pt")


def test_another_teacher_or_guide_is_refused(make: Make, tmp_path: Path) -> None:
    run = make(tiny(GUIDED))
    run.save()
    path = run.folder / CHECKPOINT
    teacher, guide = tmp_path / "other-teacher.pt", tmp_path / "other-guide.pt"
    torch.save(Generator(conv_dim=4, repeat_num=2).state_dict(), teacher)
    weights = AttributeClassifier(4).state_dict().items()
    torch.save({k: v for k, v in weights if not k.endswith("num_batches_tracked")}, guide)
    make(tiny(GUIDED)).restore(path)
    for name, other in (
        ("teacher", make(tiny(GUIDED), teacher=teacher)),
        ("guide", make(tiny(GUIDED), guide=guide)),
    ):
        with pytest.raises(ConfigError, match=rf"was trained with another {name}; give its own"):
            other.restore(path)
    # Who taught nothing so far may be another.
    early = make(tiny(HINGE, GUIDED), "early")
    early.save()
    make(tiny(HINGE, GUIDED), teacher=teacher, guide=guide).restore(early.folder / CHECKPOINT)
    with pytest.raises(WeightsError, match=r"absent\.pt: cannot be read"):
        make(tiny(GUIDED), teacher=tmp_path / "absent.pt")


def test_lessons_read_only_the_faces_that_they_show(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def watched(faces: FaceDataset, size: int, cache: Path) -> np.ndarray:
        read.append(len(faces))
        return decoded(faces, size, cache)

    monkeypatch.setattr("unmorph.training.deepfake.decoded", watched)
    run = make(tiny(LESSONS))
    assert read == [LESSONS.lessons]
    assert not {"batches", "discriminator", "discriminator_adam"} & set(run.state())


def test_a_stage_begins_with_the_average(make: Make, log: RunLog) -> None:
    run = make(tiny(dataclasses.replace(REPRODUCE, decay="constant"), WGAN))
    starts = []
    start_stage = run._start_stage

    def remember() -> None:
        starts.append({k: v.clone() for k, v in run.generator.state_dict().items()})
        torch.testing.assert_close(starts[-1], run.average, rtol=0, atol=0)
        start_stage()

    run._start_stage = remember  # type: ignore[method-assign]
    run.run(log)
    assert len(starts) == 1


def test_learning_to_reproduce_a_face(make: Make) -> None:
    stage = dataclasses.replace(REPRODUCE, steps=60, generator_lr=2e-2, discriminator_lr=2e-2)
    figures = updates(make(tiny(dataclasses.replace(stage, image_size=16), conv_dim=8)), 60)
    for name in ("identity", "real classification"):
        assert figures[name][-5:].mean() < 0.5 * figures[name][0], name


@pytest.mark.parametrize("adversarial", ["hinge", "wgan-gp"])
def test_discriminator_and_generator_learn_from_each_other(make: Make, adversarial: str) -> None:
    stage = dataclasses.replace(
        HINGE, steps=100, adversarial=adversarial, decay="constant", penalty=1.0, identity=0.0
    )
    teaching = dataclasses.replace(stage, generator_lr=0.0, discriminator_lr=1e-2)
    learning = dataclasses.replace(stage, generator_lr=1e-2, discriminator_lr=0.0)
    run = make(tiny(teaching, conv_dim=8, discriminator_conv_dim=8))
    judged = updates(run, 50)["real classification"]
    assert judged[-10:].mean() < 0.5 * judged[0]
    run.config = tiny(learning, conv_dim=8, discriminator_conv_dim=8)
    fooled = updates(run, 50)["adversarial"]
    assert fooled[-10:].mean() < fooled[0] - 0.5


def test_lessons_are_learnt(make: Make) -> None:
    run = make(tiny(dataclasses.replace(LESSONS, generator_lr=5e-3), conv_dim=8))
    course = updates(run, 60)["lessons"]
    assert course[-5:].mean() < 0.5 * course[0]


def test_lessons_are_undone_under_own_labels(make: Make) -> None:
    stage = dataclasses.replace(LESSONS, generator_lr=5e-3)
    # Sixty steps reach 0.57 on one processor and less than 0.5 on others: rounding parts them.
    with_cycle = updates(make(tiny(dataclasses.replace(stage, cycle=20.0), conv_dim=8)), 100)
    assert with_cycle["cycle"][-5:].mean() < 0.5 * with_cycle["cycle"][0]
    assert "cycle" not in updates(make(tiny(stage)), 1)


@pytest.mark.parametrize("identity", [0.0, 1.0])
def test_a_face_is_copied_behind_channels(make: Make, identity: float) -> None:
    stage = dataclasses.replace(
        HINGE, identity=identity, copied=1.0, cycle_channels={"brightness+30": 1.0}
    )
    run = make(tiny(stage, residual=True))
    run.generator.amplify_(0.0)
    sources: list[Tensor] = []
    edit = run._edit

    def watched(faces: Tensor, targets: Tensor) -> Tensor:
        sources.append(faces)
        return edit(faces, targets)

    run._edit = watched
    figures = run.update()
    faces, copied = sources[-2:]
    for source in copied.split(len(faces)):  # of the cycle, and of the identity where it counts
        assert (source > faces + 0.02).float().mean() > 0.5
    assert len(copied) == len(faces) * (2 if identity else 1)
    # A network that copies has nothing to undo: what it is compared with went the same way.
    assert figures["cycle"].item() == 0


@pytest.mark.parametrize("beside", ["lessons", "discriminator"])
def test_edits_come_to_convince_the_guide(make: Make, beside: str) -> None:
    stage = GUIDED
    if beside == "discriminator":
        stage = dataclasses.replace(
            HINGE, image_size=128, identity=0.0, cycle=0.0, classification=0.0, decay="constant"
        )
    stage = dataclasses.replace(stage, guidance=10.0, generator_lr=5e-3)
    run = make(tiny(stage, conv_dim=8))
    run.guide = SeesAllInBrightFaces()  # type: ignore[assignment]
    course = updates(run, 40)["guidance"]
    assert course[-5:].mean() < 0.8 * course[:5].mean()


def test_guidance_needs_a_guide(
    train: FaceDataset, cache: Path, tmp_path: Path, make: Make
) -> None:
    config = tiny(GUIDED)
    teacher = make(config).teacher
    with pytest.raises(ConfigError, match="name a trained classifier with --guide"):
        DeepfakeTrainer(config, train, train, tmp_path, cache, teacher)
    with pytest.raises(WeightsError, match=r"teacher\.pt: not an exported attribute classifier"):
        DeepfakeTrainer(config, train, train, tmp_path, cache, teacher, teacher)
    with pytest.raises(
        ConfigError, match="guidance: needs edits, taught or adversarial, and faces of 128"
    ):
        dataclasses.replace(GUIDED, image_size=64)


def test_lessons_need_a_teacher(train: FaceDataset, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name a trained generator with --teacher"):
        DeepfakeTrainer(tiny(LESSONS), train, train, tmp_path, cache)
    with pytest.raises(ConfigError, match="lessons: need adversarial"):
        dataclasses.replace(LESSONS, adversarial="hinge")


def test_starting_from_a_trained_generator(make: Make, tmp_path: Path) -> None:
    trained = make(tiny(HINGE, seed=1)).generator.state_dict()
    torch.save(trained, tmp_path / "trained.pt")
    run = make(tiny(HINGE))
    run.start_from(tmp_path / "trained.pt")
    for weights in (run.generator.state_dict(), run.average):
        torch.testing.assert_close(dict(weights), dict(trained), rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"trained\.pt: its conv_dim, repeat_num or kind is not"):
        make(tiny(HINGE, conv_dim=8)).start_from(tmp_path / "trained.pt")


def test_a_start_may_be_amplified(make: Make, tmp_path: Path) -> None:
    trained = make(tiny(HINGE, residual=True, seed=1)).generator
    trained.amplify_(0.01)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    run = make(tiny(HINGE, residual=True, amplify_start=1.5))
    run.start_from(tmp_path / "trained.pt")
    faces, labels = run.batches.next()
    with torch.no_grad():
        once, more = (net(faces, labels) - faces for net in (trained, run.generator))
    assert once.abs().max() > 1e-3
    torch.testing.assert_close(more, 1.5 * once, rtol=0.01, atol=1e-5)
    torch.save(Generator(4, repeat_num=1).state_dict(), tmp_path / "whole.pt")
    with pytest.raises(ConfigError, match=r"whole\.pt: only what a residual network adds"):
        make(tiny(HINGE, amplify_start=1.5)).start_from(tmp_path / "whole.pt")


def test_a_generator_step_leaves_the_discriminator_alone(make: Make) -> None:
    run = make(tiny(dataclasses.replace(WGAN, critic_steps=1, discriminator_lr=0.0)))
    before = {k: v.clone() for k, v in run.discriminator.state_dict().items()}
    generator = {k: v.clone() for k, v in run.generator.state_dict().items()}
    run.update()
    torch.testing.assert_close(dict(run.discriminator.state_dict()), before, rtol=0, atol=0)
    assert any(not torch.equal(v, generator[k]) for k, v in run.generator.state_dict().items())


def test_an_unlabelled_set_is_refused(train: FaceDataset, cache: Path, tmp_path: Path) -> None:
    bare = dataclasses.replace(train, labels=None)
    with pytest.raises(ConfigError, match="faces with labels"):
        DeepfakeTrainer(tiny(WGAN), bare, train, tmp_path, cache)

"""Training of a StarGAN (Choi et al., CVPR 2018) on CelebA."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.channels.differentiable import RandomChannels
from unmorph.datasets.base import FaceDataset, decoded
from unmorph.deepfakes.stargan import Discriminator, Generator, load_generator
from unmorph.errors import ConfigError
from unmorph.layout import autocast, channels_last, open_device
from unmorph.levels import to_faces
from unmorph.training.batches import Batches, random_edits
from unmorph.training.checkpoint import (
    load_checkpoint,
    photos_sha256,
    refuse_difference,
    refuse_other_networks,
    refuse_other_photos,
    save_checkpoint,
)
from unmorph.training.classifier import add_noise, jitter, load_classifier
from unmorph.training.config import DeepfakeConfig, DeepfakeStage
from unmorph.training.lessons import SIZE, Lessons, own_labels
from unmorph.training.loop import CHECKPOINT, learning_rate, move_average, run_steps
from unmorph.training.runlog import RunLog, contact_sheet
from unmorph.weights.store import sha256

VAL_FACES = 64

#: Weight of the squared error of a lesson beside its absolute error.
_SQUARED = 20.0

#: What a guide sees edits through: jitter, and noise up to this standard deviation.
_GUIDE_JITTER, _GUIDE_NOISE = 0.05, 0.5


def classification_loss(
    logits: Tensor, labels: Tensor, domains: Sequence[float] | None = None
) -> Tensor:
    """Binary cross entropy summed over the domains, mean over the faces (the publisher's).

    Args:
        logits: (N, domains).
        labels: the same shape, of 0 and 1.
        domains: how much each domain counts; None: all alike.
    """
    weights = None if domains is None else logits.new_tensor(domains, dtype=torch.float32)
    loss = F.binary_cross_entropy_with_logits(logits.float(), labels, weights, reduction="sum")
    return loss / len(labels)


def reconstruction_loss(rebuilt: Tensor, faces: Tensor, coarse: float) -> Tensor:
    """L1 between two batches, plus ``coarse`` times the L1 of their 16x16 averages."""
    fine = F.l1_loss(rebuilt, faces)
    if not coarse:
        return fine
    return fine + coarse * F.l1_loss(F.avg_pool2d(rebuilt, 16), F.avg_pool2d(faces, 16))


def lesson_loss(edited: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error plus `_SQUARED` times the squared one, between two batches.

    L1 alone gives the many pixels that no edit touches the same say as those that one does.
    """
    return F.l1_loss(edited, wanted) + _SQUARED * F.mse_loss(edited, wanted)


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """WGAN-GP's penalty (Gulrajani et al. 2017): (|grad D(mixed)| - 1)^2, mean over the faces."""
    mixed = (mix * real + (1 - mix) * fake).requires_grad_()
    realness, _ = discriminator(mixed)
    (gradient,) = torch.autograd.grad(realness.float().sum(), mixed, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def r1_penalty(discriminator: nn.Module, real: Tensor, signs: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018): half the squared gradient at real faces, mean over the faces.

    It covers the attribute logits too, each with a random sign: a classifier that is flat around
    real faces cannot be satisfied by grain that nobody sees.

    Args:
        discriminator: gives realness and logits.
        real: faces (N, 3, H, W).
        signs: (N, attributes) of -1 and 1.
    """
    real = real.detach().requires_grad_()
    realness, logits = discriminator(real)
    per_face = realness.float().flatten(1).mean(1) + (logits.float() * signs).sum(1)
    (gradient,) = torch.autograd.grad(per_face.sum(), real, create_graph=True)
    penalty: Tensor = 0.5 * gradient.flatten(1).square().sum(1).mean()
    return penalty


class DeepfakeTrainer:
    """Trains one StarGAN; everything that changes is in `state`, so a run can stop anywhere.

    Args:
        config: the stages and the networks' sizes.
        train, val: faces with labels.
        folder: takes the checkpoint, the log and the pictures.
        cache: folder for decoded faces and lessons.
        teacher: a trained generator's file; needed where a stage has lessons.
        guide: a trained classifier's file; needed where a stage has guidance.
        device: where the networks run.

    Raises:
        ConfigError: the faces have no labels, or there is no teacher for lessons or no guide.
        WeightsError: the teacher is no generator, or the guide no classifier.
    """

    def __init__(
        self,
        config: DeepfakeConfig,
        train: FaceDataset,
        val: FaceDataset,
        folder: Path,
        cache: Path,
        teacher: Path | None = None,
        guide: Path | None = None,
        device: str = "cpu",
    ) -> None:
        if train.labels is None or val.labels is None:
            raise ConfigError("a deepfake is trained on faces with labels, such as CelebA")
        if teacher is None and any(stage.lessons for stage in config.stages):
            raise ConfigError("lessons need a teacher: name a trained generator with --teacher")
        if guide is None and any(stage.guidance for stage in config.stages):
            raise ConfigError("guidance needs a guide: name a trained classifier with --guide")
        self.teacher, self.device = teacher, open_device(device)
        self.guide = None
        if guide is not None:
            self.guide = channels_last(load_classifier(guide)).to(self.device)
        given = {"teacher": teacher, "guide": guide}
        self._sha256 = {name: sha256(path) for name, path in given.items() if path is not None}
        self.config, self.train, self.val = config, train, val
        self.folder, self.cache = folder, cache
        torch.manual_seed(config.seed)
        self.random = torch.Generator().manual_seed(config.seed)
        self.generator = Generator(
            config.conv_dim, len(ATTRIBUTES), config.repeat_num, config.residual
        )
        if config.start == "near-identity":
            self.generator.start_near_identity_()
        channels_last(self.generator).to(self.device)
        self.average = {k: v.clone() for k, v in self.generator.state_dict().items()}
        self.stage = 0
        self.step = 0
        self.critic_updates = 0
        self.seconds = 0.0
        self.log_state: Mapping[str, Any] = {}
        self.starts: list[str] | None = []
        self._discriminator: Discriminator | None = None
        self._built_for = (0, 0)
        self._start_stage()

    def _start_stage(self) -> None:
        stage = self.current
        self.generator_adam = torch.optim.Adam(
            self.generator.parameters(), stage.generator_lr, betas=stage.betas, fused=True
        )
        channels = stage.cycle_channels
        self.cycle_channels = RandomChannels(channels, self.random) if channels else None
        # Compiling the discriminator made its steps slower, 77 instead of 54 ms.
        self._edit: Callable[[Tensor, Tensor], Tensor] = self.generator
        if self.config.compile:
            self._edit = torch.compile(self.generator, dynamic=False)
        if stage.lessons:
            self._start_lessons(stage)
        else:
            self._start_discriminator(stage)

    def _start_lessons(self, stage: DeepfakeStage) -> None:
        assert self.teacher is not None  # refused at the start
        self._discriminator, self._built_for = None, (0, 0)
        shown = self.train.subset(range(len(self.train))[: stage.lessons])
        self.lessons = Lessons(
            self.teacher,
            decoded(shown, SIZE, self.cache),
            np.asarray(shown.labels),
            stage.amplify,
            self.config.precision,
            self.cache,
        )

    def _start_discriminator(self, stage: DeepfakeStage) -> None:
        previous = self._discriminator
        if self._built_for != (stage.image_size, stage.patches):
            self._built_for = (stage.image_size, stage.patches)
            fresh = Discriminator(
                stage.image_size, self.config.discriminator_conv_dim, len(ATTRIBUTES), stage.depth
            )
            if previous is not None:
                # Its first layers serve at any size; the heads, of another shape, start anew.
                shapes = {name: value.shape for name, value in fresh.state_dict().items()}
                kept = previous.state_dict().items()
                fresh.load_state_dict(
                    {name: value for name, value in kept if shapes.get(name) == value.shape},
                    strict=False,
                )
            self._discriminator = channels_last(fresh).to(self.device)
        self.discriminator_adam = torch.optim.Adam(
            self.discriminator.parameters(), stage.discriminator_lr, betas=stage.betas, fused=True
        )
        photos = decoded(self.train, stage.image_size, self.cache)
        labels = np.asarray(self.train.labels)
        self.batches = Batches(photos, labels, stage.batch_size, self.random, self.device)

    @property
    def discriminator(self) -> Discriminator:
        """The present stage's; one with lessons has none."""
        assert self._discriminator is not None
        return self._discriminator

    @property
    def current(self) -> DeepfakeStage:
        """The stage that is running."""
        return self.config.stages[self.stage]

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold to continue as if never stopped."""
        state = {
            "config": dataclasses.asdict(self.config),
            "networks": self._networks(self.stage + 1),
            "photos": photos_sha256(self.train),
            "starts": self.starts,
            "stage": self.stage,
            "step": self.step,
            "critic_updates": self.critic_updates,
            "seconds": self.seconds,
            "log": dict(self.log_state),
            "random": self.random.get_state(),
            "generator": self.generator.state_dict(),
            "average": self.average,
            "generator_adam": self.generator_adam.state_dict(),
        }
        if not self.current.lessons:
            state["batches"] = self.batches.state()
            state["discriminator"] = self.discriminator.state_dict()
            state["discriminator_adam"] = self.discriminator_adam.state_dict()
        return state

    def _networks(self, ran: int) -> dict[str, str]:
        """Return the SHA-256 of what the first ``ran`` stages learn from, by its name."""
        stages = self.config.stages[:ran]
        used = {
            "teacher": any(stage.lessons for stage in stages),
            "guide": any(stage.guidance for stage in stages),
        }
        return {name: self._sha256[name] for name, is_used in used.items() if is_used}

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same configuration; stages to come may differ.

        Raises:
            ConfigError: stages that already ran, the networks or what they learnt from, or the
                photos differ from the checkpoint's.
            WeightsError: the file is no checkpoint.
        """
        state, saved = load_checkpoint(path, DeepfakeConfig)
        ran = state["stage"] + 1
        past, present = (
            dataclasses.replace(config, stages=config.stages[:ran])
            for config in (saved, self.config)
        )
        refuse_difference(path, past, present)
        refuse_other_networks(path, state, self._networks(ran))
        refuse_other_photos(path, state, self.train)
        self.generator.load_state_dict(state["generator"])
        self.stage, self.step = state["stage"], state["step"]
        self._start_stage()
        self.generator_adam.load_state_dict(state["generator_adam"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.critic_updates, self.seconds = state["critic_updates"], state["seconds"]
        # Older versions kept neither.
        self.log_state, self.starts = state.get("log", {}), state.get("starts")
        self.random.set_state(state["random"])
        if not self.current.lessons:
            self.batches.restore(state["batches"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_adam.load_state_dict(state["discriminator_adam"])

    def start_from(self, path: Path) -> None:
        """Start a new run with the weights of a trained generator.

        Raises:
            ConfigError: it is of another size than the configuration's.
            WeightsError: the file is no generator.
        """
        try:
            self.generator.start_from_(load_generator(path))
            self.generator.amplify_(self.config.amplify_start)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        self.starts = [sha256(path)]
        self.average = {k: v.clone() for k, v in self.generator.state_dict().items()}

    def run(self, log: RunLog) -> None:
        """Train until the last stage is done.

        Raises:
            Stopped: the run was asked to stop; the checkpoint is written.
        """
        last = len(self.config.stages) - 1
        while True:
            title = f"stage {self.stage + 1}/{last + 1} at {self.current.image_size}"
            run_steps(self, self.current.steps, title, self.config.report_every, log)
            if self.stage == last:
                break
            self.generator.load_state_dict(self.average)
            self.stage, self.step, self.critic_updates = self.stage + 1, 0, 0
            # Whatever drew random weights so far, a run that was stopped begins this stage alike.
            torch.manual_seed(self.config.seed + self.stage)
            self._start_stage()
            self.save()
        self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, self.state())

    def update(self) -> dict[str, Tensor]:
        """Run one step: the discriminator's updates, then the generator's."""
        stage = self.current
        factor = learning_rate(stage.decay, self.step, stage.steps)
        self.generator_adam.param_groups[0]["lr"] = stage.generator_lr * factor
        if stage.lessons:
            return self._study()
        self.discriminator_adam.param_groups[0]["lr"] = stage.discriminator_lr * factor
        if stage.adversarial == "none":
            return self._reproduce()
        extra = stage.discriminator_warmup if self.step == 0 else 0
        for _ in range(extra + stage.critic_steps - 1):
            faces, labels = self.batches.next()
            with torch.no_grad():
                fakes = self._edited(faces, self._targets(labels))
            self._update_discriminator(faces, labels, fakes)
        faces, labels = self.batches.next()
        targets = self._targets(labels)
        fakes = self._edited(faces, targets)
        figures = self._update_discriminator(faces, labels, fakes.detach())
        return {**figures, **self._update_generator(faces, labels, targets, fakes)}

    def _edited(self, faces: Tensor, targets: Tensor) -> Tensor:
        with autocast(self.config.precision, self.device.type):
            return self._edit(faces, targets).float()

    def _targets(self, labels: Tensor) -> Tensor:
        permuted = labels[torch.randperm(len(labels), generator=self.random).to(self.device)]
        single = torch.rand(len(labels), 1, generator=self.random) < self.current.single_edits
        single = single.to(self.device)
        edits = [edit_targets(labels, edit) for edit in ATTRIBUTES]
        return torch.where(single, random_edits(edits, self.random), permuted)

    def _reproduce(self) -> dict[str, Tensor]:
        faces, labels = self.batches.next()
        same = self._edited(faces, labels)
        with autocast(self.config.precision, self.device.type):
            _, logits = self.discriminator(faces)
        identity = reconstruction_loss(same, faces, self.current.coarse)
        classification = classification_loss(logits, labels)
        self._apply(self.generator_adam, identity)
        self._apply(self.discriminator_adam, classification)
        self._average()
        return {"identity": identity.detach(), "real classification": classification.detach()}

    def _study(self) -> dict[str, Tensor]:
        stage = self.current
        lesson = self.lessons.next(stage.batch_size, stage.image_size, self.random)
        faces, labels, targets, wanted = (part.to(self.device) for part in lesson)
        edited = self._edited(faces, targets)
        own = own_labels(len(faces))
        losses = {"lessons": lesson_loss(edited, wanted)}
        loss = losses["lessons"]
        if stage.identity and own:
            losses["identity"] = lesson_loss(edited[:own], wanted[:own])
            loss = loss + stage.identity * losses["identity"]
        if stage.cycle:
            losses["cycle"] = lesson_loss(self._edited(edited, labels), faces)
            loss = loss + stage.cycle * losses["cycle"]
        if stage.guidance:
            # Not those that are to stay as they are: whatever a face shows already is enough.
            losses["guidance"] = self._guidance(edited[own:], targets[own:])
            loss = loss + stage.guidance * losses["guidance"]
        self._apply(self.generator_adam, loss)
        self._average()
        return {name: value.detach() for name, value in losses.items()}

    def _guidance(self, edited: Tensor, targets: Tensor) -> Tensor:
        assert self.guide is not None  # refused at the start
        shown = jitter(edited, _GUIDE_JITTER, self.random)
        shown = add_noise(shown, _GUIDE_NOISE, self.random)
        with autocast(self.config.precision, self.device.type):
            logits = self.guide(shown.contiguous(memory_format=torch.channels_last))
        return classification_loss(logits, targets, self.current.guidance_domains)

    def _update_discriminator(
        self, faces: Tensor, labels: Tensor, fakes: Tensor
    ) -> dict[str, Tensor]:
        stage = self.current
        with autocast(self.config.precision, self.device.type):
            realness, logits = self.discriminator(torch.cat([faces, fakes]))
        real, fake = realness.float().chunk(2)
        classification = classification_loss(logits[: len(faces)], labels)
        if stage.adversarial == "wgan-gp":
            adversarial = fake.mean() - real.mean()
        else:
            adversarial = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        loss = adversarial + stage.real_classification * classification
        figures = {"real classification": classification.detach(), "critic": adversarial.detach()}
        if stage.adversarial == "wgan-gp":
            mix = torch.rand(len(faces), 1, 1, 1, generator=self.random).to(self.device)
            loss = loss + stage.penalty * gradient_penalty(self.discriminator, faces, fakes, mix)
        elif self.critic_updates % stage.penalty_every == 0:
            signs = (
                torch.randint(0, 2, labels.shape, generator=self.random).to(self.device) * 2.0 - 1
            )
            with autocast(self.config.precision, self.device.type):
                penalty = r1_penalty(self.discriminator, faces, signs)
            loss = loss + stage.penalty * stage.penalty_every * penalty
            figures["R1"] = penalty.detach()
        self.critic_updates += 1
        self._apply(self.discriminator_adam, loss)
        return figures

    def _update_generator(
        self, faces: Tensor, labels: Tensor, targets: Tensor, fakes: Tensor
    ) -> dict[str, Tensor]:
        stage = self.current
        self.discriminator.requires_grad_(False)
        with autocast(self.config.precision, self.device.type):
            realness, logits = self.discriminator(fakes)
        classification = classification_loss(logits, targets)
        losses = {"adversarial": -realness.float().mean(), "fake classification": classification}
        weights = {"adversarial": 1.0, "fake classification": stage.classification}
        if stage.guidance:
            losses["guidance"], weights["guidance"] = self._guidance(fakes, targets), stage.guidance
        # What the generator is to make the faces from: one pass over all of it.
        count = math.ceil(stage.copied * len(faces))
        originals = faces[:count]
        copied = fakes[:count]
        if self.cycle_channels:
            passage = self.cycle_channels.draw(count)
            copied, originals = passage(torch.cat([copied, originals])).chunk(2)
        copies: dict[str, tuple[Tensor, Tensor]] = {}
        if stage.cycle:
            copies["cycle"], weights["cycle"] = (copied, originals), stage.cycle
        if stage.identity:
            copies["identity"], weights["identity"] = (originals, originals), stage.identity
        if copies:
            sources = torch.cat([source for source, _ in copies.values()])
            rebuilt = self._edited(sources, labels[:count].repeat(len(copies), 1))
            for name, made in zip(copies, rebuilt.chunk(len(copies)), strict=True):
                losses[name] = reconstruction_loss(made, copies[name][1], stage.coarse)
        total = sum((weights[name] * value for name, value in losses.items()), torch.zeros(()))
        self._apply(self.generator_adam, total)
        self.discriminator.requires_grad_(True)
        self._average()
        return {name: value.detach() for name, value in losses.items()}

    def _apply(self, adam: torch.optim.Optimizer, loss: Tensor) -> None:
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    @torch.no_grad()
    def _average(self) -> None:
        move_average(self.average, self.generator.state_dict(), self.current.ema, self.step)

    @torch.no_grad()
    def report(self, log: RunLog) -> None:
        """Measure the averaged generator on val and draw its edits."""
        net = copy.deepcopy(self.generator)
        net.load_state_dict(self.average)
        channels_last(net)
        photos = decoded(self.val, self.current.image_size, self.cache)[:VAL_FACES]
        faces = torch.from_numpy(to_faces(photos)).to(self.device)
        faces = faces.contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(np.asarray(self.val.labels)[:VAL_FACES]).to(self.device)
        with autocast(self.config.precision, self.device.type):
            outputs = {edit: net(faces, edit_targets(labels, edit)).float() for edit in ATTRIBUTES}
            own = net(faces, labels).float()
        figures = {
            f"val moved {edit}": (output - faces).square().mean().item()
            for edit, output in outputs.items()
        }
        figures["val own-label"] = (own - faces).square().mean().item()
        figures["minutes"] = self.seconds / 60
        log.report(self._total_steps(), figures)
        columns = [faces, *outputs.values(), own]
        log.picture(
            "edits",
            self._total_steps(),
            contact_sheet([[c[i] for c in columns] for i in range(min(8, len(faces)))]),
        )

    def _total_steps(self) -> int:
        return self.step + sum(stage.steps for stage in self.config.stages[: self.stage])

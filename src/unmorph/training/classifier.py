"""Training of the attribute classifier that labels photos, and of the one that judges edits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmorph.attributes import ATTRIBUTES
from unmorph.classifier import AttributeClassifier
from unmorph.datasets.base import FaceDataset, decoded
from unmorph.errors import ConfigError, WeightsError
from unmorph.layout import autocast, channels_last, open_device
from unmorph.levels import to_faces
from unmorph.training.batches import Batches, recolour, uniform
from unmorph.training.checkpoint import (
    load_checkpoint,
    photos_sha256,
    refuse_difference,
    refuse_other_photos,
    save_checkpoint,
)
from unmorph.training.config import ClassifierConfig
from unmorph.training.loop import CHECKPOINT, learning_rate, run_steps
from unmorph.training.runlog import RunLog
from unmorph.weights.tensors import load_exported, read_tensors

SIZE = 128


def jitter(faces: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Shift, scale, brighten and blur a batch at random, so that the classifier reads the face.

    Args:
        faces: (N, 3, H, W) in [-1,1].
        amount: the largest shift and change of scale, as a share of the face's side, and of
            contrast; colours change by up to a quarter of it, as a share of full range.
        generator: the source of randomness.
    """
    theta = torch.zeros(len(faces), 2, 3, device=faces.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + uniform(faces, (), amount, generator)
    theta[:, :, 2] = 2 * uniform(faces, (2,), amount, generator)
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    moved = F.grid_sample(faces, grid, padding_mode="reflection", align_corners=False)
    return recolour(moved, amount, generator)


def add_noise(faces: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise, of each face's own strength, to a batch (N, 3, H, W).

    What a classifier sees through noise is what people see: its gradient draws no grain
    (Kaur et al. 2019).

    Args:
        faces: in [-1,1]; what is returned may reach beyond.
        most: the largest standard deviation.
        generator: the source of randomness.
    """
    strength = torch.rand(len(faces), 1, 1, 1, generator=generator).to(faces.device) * most
    # So many numbers are drawn where they are needed.
    there = torch.Generator(faces.device)
    there.manual_seed(int(torch.randint(2**62, (), generator=generator)))
    return faces + strength * torch.randn(faces.shape, generator=there, device=faces.device)


def load_classifier(path: Path) -> AttributeClassifier:
    """Build the classifier of an export, frozen and in evaluation mode.

    Raises:
        WeightsError: the file cannot be read, or is no attribute classifier.
    """
    weights = read_tensors(path)
    stem = weights.get("stem.0.weight", torch.empty(1))
    classifier = AttributeClassifier(len(stem))
    try:
        load_exported(classifier, weights)
    except WeightsError as error:
        raise WeightsError(f"{path}: not an exported attribute classifier: {error}") from error
    return classifier.eval().requires_grad_(False)


class ClassifierTrainer:
    """Trains one attribute classifier; everything that changes is in `state`.

    Args:
        config: its size and budget.
        train, val: faces with labels.
        folder: takes the checkpoint and the log.
        cache: folder for decoded faces.
        device: where the network runs.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        train: FaceDataset,
        val: FaceDataset,
        folder: Path,
        cache: Path,
        device: str = "cpu",
    ) -> None:
        if train.labels is None or val.labels is None:
            raise ConfigError("a classifier is trained on faces with labels, such as CelebA")
        self.config, self.train, self.folder = config, train, folder
        self.device = open_device(device)
        torch.manual_seed(config.seed)
        self.random = torch.Generator().manual_seed(config.seed)
        self.classifier = channels_last(AttributeClassifier(config.width)).to(self.device)
        self.adam = torch.optim.AdamW(
            self.classifier.parameters(), config.learning_rate, weight_decay=0.05, fused=True
        )
        self.step = 0
        self.seconds = 0.0
        self.log_state: Mapping[str, Any] = {}
        photos = decoded(train, SIZE, cache)
        self.batches = Batches(photos, train.labels, config.batch_size, self.random, self.device)
        self.val_faces = torch.from_numpy(to_faces(decoded(val, SIZE, cache))).to(self.device)
        self.val_labels = torch.from_numpy(np.asarray(val.labels)).to(self.device)
        self._classify: Callable[[Tensor], Tensor] = self.classifier
        if config.compile:
            self._classify = torch.compile(self.classifier)

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold to continue as if never stopped."""
        return {
            "config": dataclasses.asdict(self.config),
            "photos": photos_sha256(self.train),
            "step": self.step,
            "seconds": self.seconds,
            "log": dict(self.log_state),
            "random": self.random.get_state(),
            "batches": self.batches.state(),
            "classifier": self.classifier.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same configuration (``report_every`` may differ).

        Raises:
            ConfigError: the checkpoint's configuration or the photos differ.
            WeightsError: the file is no checkpoint.
        """
        state, saved = load_checkpoint(path, ClassifierConfig)
        refuse_difference(path, saved, self.config)
        refuse_other_photos(path, state, self.train)
        self.classifier.load_state_dict(state["classifier"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.log_state = state.get("log", {})  # older versions kept none
        self.random.set_state(state["random"])
        self.batches.restore(state["batches"])

    def run(self, log: RunLog) -> None:
        """Train to the last step.

        Raises:
            Stopped: the run was asked to stop; the checkpoint is written.
        """
        run_steps(self, self.config.steps, "classifier", self.config.report_every, log)
        self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, self.state())

    def update(self) -> dict[str, Tensor]:
        """Run one step of binary cross entropy on jittered faces."""
        factor = learning_rate("cosine", self.step, self.config.steps)
        self.adam.param_groups[0]["lr"] = self.config.learning_rate * factor
        faces, labels = self.batches.next()
        faces = jitter(faces, self.config.jitter, self.random)
        if self.config.noise:
            faces = add_noise(faces, self.config.noise, self.random)
        with autocast(self.config.precision, self.device.type):
            logits = self._classify(faces.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        return {"loss": loss.detach()}

    @torch.no_grad()
    def report(self, log: RunLog) -> None:
        """Measure the accuracy of each attribute on val."""
        self.classifier.eval()
        with autocast(self.config.precision, self.device.type):
            logits = torch.cat([self.classifier(faces) for faces in self.val_faces.split(64)])
        self.classifier.train()
        right = ((logits > 0) == (self.val_labels > 0)).float().mean(0)
        figures = {
            f"val {name}": value.item() for name, value in zip(ATTRIBUTES, right, strict=True)
        }
        log.report(self.step, {**figures, "minutes": self.seconds / 60})

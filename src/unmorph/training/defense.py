"""End-to-end training of the perturbation generator against frozen deepfakes (section 3.2)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmorph import metrics
from unmorph.channels.differentiable import RandomChannels
from unmorph.datasets.base import FaceDataset, decoded
from unmorph.deepfakes import Deepfake
from unmorph.defenses import PerturbationGenerator
from unmorph.errors import ConfigError
from unmorph.layout import autocast, channels_last, open_device
from unmorph.levels import to_faces
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
from unmorph.training.batches import Batches, random_edits
from unmorph.training.checkpoint import (
    load_checkpoint,
    photos_sha256,
    refuse_difference,
    refuse_other_networks,
    refuse_other_photos,
    save_checkpoint,
)
from unmorph.training.config import DefenseConfig
from unmorph.training.loop import CHECKPOINT, learning_rate, move_average, run_steps
from unmorph.training.muon import Muon
from unmorph.training.runlog import RunLog, contact_sheet
from unmorph.weights.store import sha256

#: Faces that a report on val is measured on.
SOME_FACES = 64

#: How fast lambda_mag follows a PSNR that is off its mark, a step.
_STEERING = 0.01

#: How much brighter the sheet shows the perturbation.
_AMPLIFIED = 20


class DefenseTrainer:
    """Trains one perturbation generator; everything that changes is in `state`.

    Args:
        config: the paper's or another.
        deepfakes: the frozen networks to defend against, by the configuration's names.
        train, val: faces with labels.
        folder: takes the checkpoint, the log and the pictures.
        cache: folder for decoded faces.
        features: VGG16 for L_feat; needed where ``lambda_feat`` is not 0.
        device: where the networks run.
    """

    def __init__(
        self,
        config: DefenseConfig,
        deepfakes: Mapping[str, Deepfake],
        train: FaceDataset,
        val: FaceDataset,
        folder: Path,
        cache: Path,
        features: VGGFeatures | None = None,
        device: str = "cpu",
    ) -> None:
        if train.labels is None or val.labels is None:
            raise ConfigError("a defense is trained on faces with labels, such as CelebA")
        known = sorted({edit for name in config.deepfakes for edit in deepfakes[name].edits})
        if unknown := sorted(config.edits.keys() - set(known)):
            raise ConfigError(f"edits = {unknown[0]!r}: no such edit; choose of {', '.join(known)}")
        self.config, self.train, self.folder = config, train, folder
        self.device = open_device(device)
        self.features = None if features is None else features.to(self.device)
        self.deepfakes = {
            name: channels_last(deepfakes[name]).to(self.device) for name in config.deepfakes
        }
        torch.manual_seed(config.seed)
        self.random = torch.Generator().manual_seed(config.seed)
        defense = PerturbationGenerator(
            config.width, config.epsilon, config.max_width, config.smooth, config.detail
        )
        self.defense = channels_last(defense).to(self.device)
        self.average = copy.deepcopy(self.defense)
        self.average.eval().requires_grad_(False)
        self.defense.train(not config.fixed_statistics)  # normalisation is all that minds
        parameters = list(self.defense.parameters())
        self.optimizers: list[torch.optim.Optimizer] = []
        if config.muon:
            matrices = [p for p in parameters if p.ndim > 1]
            self.optimizers.append(Muon(matrices, config.muon, precision=config.precision))
            parameters = [p for p in parameters if p.ndim <= 1]
        adam = torch.optim.Adam(parameters, config.learning_rate, betas=config.betas, fused=True)
        self.optimizers.append(adam)
        self.channels = RandomChannels(config.channels, self.random) if config.channels else None
        self.augment = RandomChannels(config.augment, self.random) if config.augment else None
        # A tensor: to read its value at each step would have a GPU wait.
        self.lambda_mag = torch.tensor(config.lambda_mag, device=self.device)
        self.step = 0
        self.seconds = 0.0
        self.log_state: Mapping[str, Any] = {}
        self.starts: list[str] | None = []
        size = _common_size(self.deepfakes)
        photos = decoded(train, size, cache)
        self.batches = Batches(photos, train.labels, config.batch_size, self.random, self.device)
        faces = torch.from_numpy(to_faces(decoded(val, size, cache)[:SOME_FACES]))
        self.val_faces = faces.to(self.device).contiguous(memory_format=torch.channels_last)
        self.val_labels = torch.from_numpy(np.asarray(val.labels)[:SOME_FACES]).to(self.device)
        self._perturb: Callable[[Tensor], Tensor] = self.defense
        self._edit: dict[str, Callable[[Tensor, Tensor], Tensor]] = dict(self.deepfakes)
        if config.compile:
            self._perturb = torch.compile(self.defense)
            self._edit = {name: torch.compile(net) for name, net in self.deepfakes.items()}
            if self.features is not None:
                self.features.compile()

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint must hold to continue as if never stopped."""
        return {
            "config": dataclasses.asdict(self.config),
            "networks": self._networks(),
            "photos": photos_sha256(self.train),
            "starts": self.starts,
            "step": self.step,
            "seconds": self.seconds,
            "log": dict(self.log_state),
            "lambda_mag": self.lambda_mag.item(),
            "random": self.random.get_state(),
            "batches": self.batches.state(),
            "defense": self.defense.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def _networks(self) -> dict[str, str | None]:
        return {name: net.provenance.get("sha256") for name, net in self.deepfakes.items()}

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same configuration (``report_every`` may differ).

        Raises:
            ConfigError: the checkpoint's configuration, a deepfake or the photos differ; the
                message says how.
            WeightsError: the file is no checkpoint.
        """
        state, saved = load_checkpoint(path, DefenseConfig)
        refuse_difference(path, saved, self.config)
        refuse_other_networks(path, state, self._networks())
        refuse_other_photos(path, state, self.train)
        self.defense.load_state_dict(state["defense"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        self.step, self.seconds = state["step"], state["seconds"]
        # Older versions kept neither.
        self.log_state, self.starts = state.get("log", {}), state.get("starts")
        self.lambda_mag.fill_(state["lambda_mag"])
        self.random.set_state(state["random"])
        self.batches.restore(state["batches"])

    def start_from(self, paths: Sequence[Path]) -> None:
        """Start a new run with the mean of other runs' exports, amplified as configured.

        Raises:
            WeightsError: a file is no defense of this size.
        """
        self.starts = [sha256(path) for path in paths]
        self.average.load_mean_(paths)
        self.average.amplify_(self.config.amplify_start)
        self.defense.load_state_dict(self.average.state_dict())

    def run(self, log: RunLog) -> None:
        """Train to the last step.

        Raises:
            Stopped: the run was asked to stop; the checkpoint is written.
        """
        run_steps(self, self.config.steps, "defense", self.config.report_every, log)
        self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, self.state())

    def update(self) -> dict[str, Tensor]:
        """Run one step of equation 8 on one batch, each face with one edit of each deepfake."""
        config = self.config
        factor = learning_rate(config.decay, self.step, config.steps)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = optimizer.defaults["lr"] * factor
        faces, labels = self.batches.next()
        if self.augment:
            changed = self.augment(faces)
            faces = changed.contiguous(memory_format=torch.channels_last)
        with autocast(self.config.precision, self.device.type):
            perturbation = self._perturb(faces).float()
        protected = self.defense.bounded(faces, faces + perturbation)
        posted = self.channels(protected) if self.channels else protected
        pixel = pixel_loss(faces, protected).mean()
        feature, structure = torch.zeros(()), torch.zeros(())
        some = slice(config.feature_faces)
        if config.lambda_ssim:
            structure = structure_loss(faces[some], protected[some]).mean()
        if self.features is not None and config.measures_features:
            with autocast(self.config.precision, self.device.type):
                feature = feature_loss(self.features, faces[some], protected[some]).float().mean()
        left = {name: self._left(name, faces, posted, labels) for name in self.deepfakes}
        weighted = [weight * left[name] for name, weight in config.deepfakes.items()]
        adversarial = torch.stack(weighted).sum()
        magnitude = magnitude_loss(
            pixel * (config.without != "L_pix"),
            feature,
            config.lambda_feat,
            structure,
            config.lambda_ssim,
        )
        lambda_adv = config.lambda_adv * (config.without != "L_adv")
        loss = total_loss(magnitude, adversarial, self.lambda_mag, lambda_adv)
        self.defense.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        figures = {"pix": pixel, "feat": feature, "adv": adversarial, "lambda_mag": self.lambda_mag}
        if len(left) > 1:
            figures |= {f"adv {name}": value for name, value in left.items()}
        if config.lambda_ssim:
            figures["1 - SSIM"] = structure
        self._follow(pixel.detach())
        return {name: value.detach() for name, value in figures.items()}

    def _left(self, name: str, faces: Tensor, posted: Tensor, labels: Tensor) -> Tensor:
        """Return L_adv of one deepfake over the batch: what edits still do to posted faces."""
        deepfake, edit = self.deepfakes[name], self._edit[name]
        choices = [deepfake.targets(chosen, labels) for chosen in deepfake.edits]
        edits = self.config.edits
        shares = [edits.get(chosen, 1.0) for chosen in deepfake.edits] if edits else None
        targets = random_edits(choices, self.random, shares)
        with autocast(self.config.precision, self.device.type):
            edited = edit(posted, targets).float()
        left = adversarial_loss(posted, edited)
        if self.config.relative:
            with torch.no_grad(), autocast(self.config.precision, self.device.type):
                unprotected = edit(faces, targets).float()
            left = left * relative_weight(faces, unprotected)
        return left.mean()

    @torch.no_grad()
    def _follow(self, pixel: Tensor) -> None:
        """Move the average of the weights, and lambda_mag towards the PSNR asked for."""
        average, own = self.average.state_dict(), self.defense.state_dict()
        move_average(average, own, self.config.ema, self.step)
        if self.config.psnr is not None:
            wanted = 4 / 10 ** (self.config.psnr / 10)
            excess = (pixel / wanted - 1).clamp(-1, 1)
            self.lambda_mag = self.lambda_mag * (_STEERING * excess).exp()

    @torch.no_grad()
    def report(self, log: RunLog) -> None:
        """Measure the averaged defense on val and draw what it does."""
        faces, labels = self.val_faces, self.val_labels
        with autocast(self.config.precision, self.device.type):
            perturbation = self.average(faces).float()
        protected = self.average.bounded(faces, faces + perturbation)
        pairs = {"": (faces, protected)}
        if self.channels:
            # The same draws at every report, and a passage that a face and its twin share.
            generator = torch.Generator().manual_seed(self.config.seed)
            passage = RandomChannels(self.config.channels, generator).draw(len(faces))
            pairs[" posted"] = passage(faces), passage(protected)
        figures = {"val PSNR": metrics.psnr(faces, protected).mean().item()}
        rows: list[list[Tensor]] = []
        shown, amplified = range(min(4, len(faces))), perturbation * _AMPLIFIED
        for name, deepfake in self.deepfakes.items():
            of = f" {name}" if len(self.deepfakes) > 1 else ""
            for way, (plain, shielded) in pairs.items():
                before = self._edited(deepfake, plain, labels)
                after = self._edited(deepfake, shielded, labels)
                found = self._suppressed(plain, shielded, before, after)
                figures |= {f"{key}{way}{of}": value for key, value in found.items()}
                if not way:
                    sheet = ([plain, *before, amplified], [shielded, *after, amplified])
                    rows += [[batch[face] for batch in row] for face in shown for row in sheet]
        log.report(self.step, {**figures, "minutes": self.seconds / 60})
        log.picture("defense", self.step, contact_sheet(rows))

    def _edited(self, deepfake: Deepfake, faces: Tensor, labels: Tensor) -> list[Tensor]:
        """Return the faces edited in every way."""
        edited = []
        for edit in deepfake.edits:
            with autocast(self.config.precision, self.device.type):
                edited.append(deepfake(faces, deepfake.targets(edit, labels)).float())
        return edited

    @staticmethod
    def _suppressed(
        faces: Tensor, protected: Tensor, before: list[Tensor], after: list[Tensor]
    ) -> dict[str, float]:
        """Return how far the edits go with and without protection."""
        movement = torch.stack([metrics.l2(faces, edited) for edited in before])
        residue = torch.stack([metrics.l2(protected, edited) for edited in after])
        counted = metrics.moved(movement)
        return {
            "val moved": movement.mean().item(),
            "val left": residue.mean().item(),
            "val s": metrics.suppression(movement, residue)[counted].mean().item(),
            "val strict DSR": metrics.strict_dsr(movement, residue),
        }


def _common_size(deepfakes: Mapping[str, Deepfake]) -> int:
    """Return the side of the faces that all deepfakes take.

    Raises:
        ConfigError: they take faces of different sizes.
    """
    sizes = {name: deepfake.size for name, deepfake in deepfakes.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(f"deepfakes: all must take faces of one size; they take {told}")
    return next(iter(sizes.values()))

"""Frozen training configurations, read from TOML files."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from unmorph.errors import ConfigError
from unmorph.toml import read_toml

T = TypeVar("T")

#: The terms of a defense's loss (equations 4, 5 and 7), as the paper's table 4 names them.
LOSS_TERMS = ("L_pix", "L_feat", "L_adv")

#: The largest that torch takes, with room for the stages that count on from it.
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class DeepfakeStage:
    """One stretch of StarGAN training at one image size.

    Attributes:
        image_size: side of the faces in pixels, a multiple of 4 and of ``2 ** depth``.
        steps: generator updates.
        batch_size: faces a step.
        adversarial: ``wgan-gp`` (Gulrajani et al. 2017, the publisher's), ``hinge`` with a lazy R1
            penalty (Lim and Ye 2017; Mescheder et al. 2018), or ``none``: the generator learns to
            reproduce a face under its own labels, the discriminator only to classify real ones;
            with ``lessons`` the generator learns those and there is no discriminator.
        critic_steps: discriminator updates for each generator update.
        discriminator_warmup: discriminator updates before the first generator update, at the
            hundredth of its rate that a stage begins with.
        generator_lr, discriminator_lr: Adam's learning rates.
        decay: ``constant``, ``cosine`` to zero, or ``linear`` to zero over the second half.
        betas: Adam's betas.
        classification, real_classification: weights of the domain classification loss (summed
            over the domains) of the generator's edits, and of real faces in the discriminator.
        cycle, identity: weights of the L1 cycle reconstruction and of the L1 reconstruction under
            own labels; with lessons, both are measured as those are, and ``identity`` counts
            those under own labels once more.
        cycle_channels: where given, what befalls an edited face before its edit is undone, as in
            `DefenseConfig.channels`; the face that it is compared with goes through the same, and
            is what is reproduced under own labels.
        copied: share of the batch's faces that both reconstructions take.
        coarse: weight, within both reconstructions, of the same L1 after 16x16 average pooling:
            instance normalisation forgets brightness, contrast and tint first.
        penalty: weight of the gradient penalty (``wgan-gp``) or of R1 (``hinge``).
        penalty_every: discriminator updates from one R1 penalty to the next.
        patches: side of the discriminator's map of patches: its depth is
            log2(image_size / patches), the publisher's 6 at 128 with 2.
        single_edits: share of targets that are one edit of the face's own labels; the others are
            the labels of another face of the batch, as the publisher samples them.
        ema: decay of the moving average of the generator's weights.
        lessons: on how many faces another StarGAN, the teacher, shows its edits
            (`unmorph.training.lessons`); a quarter of each batch asks for the own labels.
        amplify: how much stronger the lessons are than its edits, a factor for each domain.
        guidance: weight, beside the lessons or the discriminator, of the domain classification
            loss of a classifier that reads the edits through jitter and noise.
        guidance_domains: how much each domain counts in that loss.
    """

    image_size: int
    steps: int
    batch_size: int = 16
    adversarial: str = "wgan-gp"
    critic_steps: int = 5
    discriminator_warmup: int = 0
    generator_lr: float = 1e-4
    discriminator_lr: float = 1e-4
    decay: str = "linear"
    betas: tuple[float, float] = (0.5, 0.999)
    classification: float = 1.0
    real_classification: float = 1.0
    cycle: float = 10.0
    identity: float = 0.0
    cycle_channels: dict[str, float] = field(default_factory=dict)
    copied: float = 1.0
    coarse: float = 0.0
    penalty: float = 10.0
    penalty_every: int = 1
    patches: int = 2
    single_edits: float = 0.0
    ema: float = 0.999
    lessons: int = 0
    amplify: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)
    guidance: float = 0.0
    guidance_domains: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _one_of("adversarial", self.adversarial, ("none", "hinge", "wgan-gp"))
        _one_of("decay", self.decay, ("constant", "cosine", "linear"))
        _positive(self, "image_size", "steps", "batch_size", "critic_steps", "penalty_every")
        _not_negative(self, "generator_lr", "discriminator_lr", "discriminator_warmup", "lessons")
        _between(self, 0, 1, "ema", "single_edits")
        _betas(self.betas)
        if self.patches not in (2**k for k in range(1, 8)):
            raise ConfigError(f"patches = {self.patches}: must be a power of two from 2 to 128")
        # The generator halves a face twice, and has nothing to normalise where one pixel is left.
        halved = max(4, self.patches, 2**self.depth)
        if self.image_size < 8 or self.image_size % halved:
            raise ConfigError(
                f"image_size = {self.image_size}: must be a multiple of {halved} and at least 8"
            )
        if self.coarse and self.image_size < 16:
            raise ConfigError(f"coarse = {self.coarse}: needs faces of at least 16 pixels")
        if not 0 < self.copied <= 1:
            raise ConfigError(f"copied = {self.copied}: must be above 0 and at most 1")
        if self.lessons and (self.adversarial != "none" or self.image_size not in (32, 64, 128)):
            raise ConfigError('lessons: need adversarial = "none" and faces of 32, 64 or 128')
        edits = self.lessons or self.adversarial != "none"
        if self.guidance and not (edits and self.image_size == 128):
            raise ConfigError("guidance: needs edits, taught or adversarial, and faces of 128")
        _positive_weights(self, "cycle_channels")
        if self.cycle_channels and (self.adversarial == "none" or not self.cycle):
            raise ConfigError("cycle_channels: need an adversarial stage with a cycle")

    @property
    def depth(self) -> int:
        """How often the discriminator halves a face."""
        return (self.image_size // self.patches).bit_length() - 1


@dataclass(frozen=True)
class DeepfakeConfig:
    """How a StarGAN is trained.

    Attributes:
        stages: run one after the other; a new image size or number of patches starts a new
            discriminator, with those layers of the old one that fit; after lessons it starts anew.
        conv_dim, repeat_num, residual: the generator's kind
            (`unmorph.deepfakes.stargan.Generator`).
        discriminator_conv_dim: channels after the discriminator's first convolution.
        start: ``random`` weights (the publisher's) or ``near-identity``
            (`unmorph.deepfakes.stargan.Generator.start_near_identity_`).
        amplify_start: factor of what a residual generator that the run starts from
            (--start-from) adds to a face.
        seed: of the weights, the order of the faces and the targets.
        precision: ``bf16`` (autocast) or ``fp32``.
        compile: whether to compile the networks (needs a C++ compiler on a CPU).
        report_every: steps from one set of figures and pictures on val to the next.
    """

    stages: tuple[DeepfakeStage, ...]
    conv_dim: int = 64
    repeat_num: int = 6
    discriminator_conv_dim: int = 64
    residual: bool = False
    start: str = "random"
    amplify_start: float = 1.0
    seed: int = 0
    precision: str = "fp32"
    compile: bool = False
    report_every: int = 1000

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, ("fp32", "bf16"))
        _one_of("start", self.start, ("random", "near-identity"))
        _positive(self, "conv_dim", "repeat_num", "discriminator_conv_dim", "report_every")
        _positive(self, "amplify_start")
        _between(self, 0, _LARGEST_SEED, "seed")
        if not self.stages:
            raise ConfigError("a deepfake config needs at least one [[stages]] table")


@dataclass(frozen=True)
class DefenseConfig:
    """How a perturbation generator is trained against frozen deepfakes (equation 8).

    Attributes:
        deepfakes: the registered deepfakes to defend against, and what L_adv counts for each; a
            label after a colon ("stargan:other") tells several networks of one kind apart.
        width, max_width, smooth, detail: channels of the U-Net's first level, the most of any, and
            what filters the perturbation (`unmorph.defenses.PerturbationGenerator`).
        epsilon: bound of the perturbation on [-1,1].
        steps, batch_size, learning_rate: as in the paper by default.
        decay: ``constant``, ``cosine`` or ``linear``.
        betas: Adam's betas.
        muon: learning rate of Muon (`unmorph.training.muon`) for the convolutions' weights, with
            the same decay; 0: Adam's for all.
        lambda_mag, lambda_adv, lambda_feat: weights of equations 6 and 8; the paper gives none.
        lambda_ssim: weight, within L_mag, of 1 - SSIM, which the paper's has not: it moves the
            perturbation from smooth skin to where the face has detail.
        feature_layers: VGG16 activations of L_feat (`unmorph.perceptual.VGG_LAYERS`).
        feature_faces: on how many faces of a batch L_feat and SSIM are measured: their means are
            then estimates, but VGG16 costs more than the deepfake.
        without: the term of `LOSS_TERMS` that is left out, for an ablation; empty: none is.
        psnr: where given, lambda_mag is steered so that the protected faces keep this PSNR in dB
            (of the mean squared error over a batch), starting from ``lambda_mag``.
        relative: whether L_adv is divided by how far the edit moves the unprotected face, plus
            0.01: subtle edits then weigh nearly as much as strong ones, as they do in
            edit suppression, down to those that move less than that.
        edits: where given, how often edits are drawn, relative to one another, by their names; the
            others 1.
        channels: where given, what befalls the protected faces before the deepfake gets them: names
            as `unmorph.channels.codecs.parse` reads them, and how often each is drawn, relative to
            one another; one is drawn for each face.
        augment: where given, what befalls the faces before they are protected, as ``channels``:
            other crops and colours, so that none is seen twice as it was.
        amplify_start: factor of the perturbation of the defense that the run starts from
            (--start-from): what ``smooth``, ``detail`` or another ``epsilon`` takes from it.
        fixed_statistics: whether batch normalisation keeps the statistics of that defense: small
            batches tell them badly.
        ema: decay of the moving average of the weights; the average is what is exported.
        seed, precision, compile, report_every: as in `DeepfakeConfig`.
    """

    deepfakes: dict[str, float] = field(default_factory=lambda: {"stargan": 1.0})
    width: int = 64
    max_width: int | None = None
    smooth: float = 0.0
    detail: float = 0.0
    epsilon: float = 0.05
    steps: int = 200_000
    batch_size: int = 16
    learning_rate: float = 1e-4
    decay: str = "constant"
    betas: tuple[float, float] = (0.9, 0.999)
    muon: float = 0.0
    lambda_mag: float = 10.0
    lambda_adv: float = 1.0
    lambda_feat: float = 1e-5
    lambda_ssim: float = 0.0
    feature_layers: tuple[str, ...] = ("relu1_2", "relu2_2")
    feature_faces: int = 16
    without: str = ""
    psnr: float | None = None
    relative: bool = False
    edits: dict[str, float] = field(default_factory=dict)
    channels: dict[str, float] = field(default_factory=dict)
    augment: dict[str, float] = field(default_factory=dict)
    amplify_start: float = 1.0
    fixed_statistics: bool = False
    ema: float = 0.999
    seed: int = 0
    precision: str = "fp32"
    compile: bool = False
    report_every: int = 1000

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, ("fp32", "bf16"))
        _one_of("decay", self.decay, ("constant", "cosine", "linear"))
        _positive(self, "width", "epsilon", "steps", "batch_size", "report_every")
        _positive(self, "feature_faces", "amplify_start")
        if self.max_width is not None:
            _positive(self, "max_width")
        _not_negative(self, "lambda_mag", "lambda_adv", "lambda_feat", "lambda_ssim", "muon")
        _not_negative(self, "smooth", "detail", "learning_rate")
        _between(self, 0, 1, "ema")
        _between(self, 0, _LARGEST_SEED, "seed")
        _betas(self.betas)
        if self.psnr is not None:
            _between(self, 0, 100, "psnr")
        if self.without:
            _one_of("without", self.without, LOSS_TERMS)
        if self.without and self.psnr is not None:
            raise ConfigError(
                f"without {self.without}: a PSNR to keep would make up for it; leave psnr out"
            )
        _positive_weights(self, "channels", "augment", "edits", "deepfakes")
        if not self.deepfakes:
            raise ConfigError("deepfakes: name at least one")

    @property
    def measures_features(self) -> bool:
        """Whether L_feat has a say, and so whether VGG16 is needed."""
        return bool(self.lambda_feat) and self.without != "L_feat"


@dataclass(frozen=True)
class ClassifierConfig:
    """How an attribute classifier is trained.

    Attributes:
        width: channels of its stem (`unmorph.classifier.AttributeClassifier`).
        steps, batch_size, learning_rate: AdamW's, decaying as a cosine.
        jitter: strength of the random changes (`unmorph.training.classifier.jitter`).
        noise: the largest standard deviation of the noise that the faces are read through, on
            [-1,1] (`unmorph.training.classifier.add_noise`).
        seed, precision, compile, report_every: as in `DeepfakeConfig`.
    """

    steps: int
    width: int = 32
    batch_size: int = 64
    learning_rate: float = 1e-3
    jitter: float = 0.1
    noise: float = 0.0
    seed: int = 0
    precision: str = "fp32"
    compile: bool = False
    report_every: int = 500

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, ("fp32", "bf16"))
        _positive(self, "width", "steps", "batch_size", "report_every")
        _not_negative(self, "learning_rate")
        _between(self, 0, _LARGEST_SEED, "seed")


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{key} = {value!r}: choose one of {', '.join(choices)}")


def _positive(config: object, *keys: str) -> None:
    for key in keys:
        if getattr(config, key) <= 0:
            raise ConfigError(f"{key} = {getattr(config, key)}: must be positive")


def _not_negative(config: object, *keys: str) -> None:
    for key in keys:
        if getattr(config, key) < 0:
            raise ConfigError(f"{key} = {getattr(config, key)}: must not be negative")


def _between(config: object, least: float, most: float, *keys: str) -> None:
    for key in keys:
        if not least <= getattr(config, key) <= most:
            raise ConfigError(f"{key} = {getattr(config, key)}: must be from {least} to {most}")


def _betas(betas: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in betas):
        raise ConfigError(f"betas = {list(betas)}: each must be from 0 and below 1")


def _positive_weights(config: object, *keys: str) -> None:
    for key in keys:
        if any(weight <= 0 for weight in getattr(config, key).values()):
            raise ConfigError(f"{key}: every weight must be positive")


def load_config(path: str | Path, kind: type[T]) -> T:
    """Read a TOML file as a configuration of the given kind.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown, missing or of the wrong type.
    """
    table = read_toml(path)
    try:
        return from_table(table, kind)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def from_table(table: dict[str, Any], kind: type[T]) -> T:
    """Build a configuration from plain values, refusing unknown and mistyped keys."""
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - set(fields)):
        raise ConfigError(f"unknown key {', '.join(unknown)}; known: {', '.join(sorted(fields))}")
    missing = [
        name
        for name, f in fields.items()
        if name not in table
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"missing key {', '.join(missing)}")
    return kind(**{name: _value(name, value, hints[name]) for name, value in table.items()})


def _value(name: str, value: Any, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        present = [a for a in arguments if a is not type(None)]
        return None if value is None else _value(name, value, present[0])
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name}: expected a list, got {value!r}")
        if Ellipsis not in arguments and len(value) != len(arguments):
            raise ConfigError(f"{name}: expected {len(arguments)} values, got {value!r}")
        return tuple(_value(name, item, arguments[0]) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{name}: expected a table, got {value!r}")
        return {key: _value(f"{name}.{key}", item, arguments[1]) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{name}: expected a table, got {value!r}")
        return from_table(value, hint)  # type: ignore[arg-type]
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:  # a NaN, infinity, or an integer beyond any float
            raise ConfigError(f"{name}: expected a finite number, got {value!r}")
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{name}: expected {hint.__name__}, got {value!r}")
    return value

"""``unmorph train``: train a deepfake, a defense against some, or an attribute classifier."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import STOPPED
from unmorph.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unmorph.datasets.base import FaceDataset
    from unmorph.training.config import DeepfakeConfig, DefenseConfig
    from unmorph.training.runlog import RunLog

app = typer.Typer(
    no_args_is_help=True,
    help="Train a deepfake, a defense against some, or an attribute classifier.",
)

_CONFIG = typer.Argument(..., help="A TOML file; configs/ in the repository holds ours.")
_DATA = typer.Option(
    ..., help="CelebA's folder: photos (folder or zip), attribute and partition lists."
)
_OUT = typer.Option(
    ..., "-o", "--out", file_okay=False, help="Folder for checkpoint, log and pictures."
)
_RESUME = typer.Option(False, "--resume", help="Go on from the checkpoint in --out.")
_DEVICE = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ...")
_CACHE = typer.Option(None, help="Folder for decoded faces (a few gigabytes); default: user cache.")


class _Run(Protocol):
    def restore(self, path: Path) -> None: ...

    def run(self, log: RunLog) -> None: ...


@app.command()
def deepfake(
    config: Path = _CONFIG,
    data: Path = _DATA,
    out: Path = _OUT,
    resume: bool = _RESUME,
    cache: Path | None = _CACHE,
    device: str = _DEVICE,
    start_from: Path | None = typer.Option(
        None, help="Begin with the weights of a trained generator, such as an export."
    ),
    teacher: Path | None = typer.Option(
        None,
        help="A trained generator whose edits are learnt, where the configuration has lessons.",
    ),
    guide: Path | None = typer.Option(
        None, help="A trained classifier that edits must convince, where there is guidance."
    ),
) -> None:
    """Train a StarGAN on CelebA."""
    require_torch()
    from unmorph.training.config import DeepfakeConfig, load_config
    from unmorph.training.deepfake import DeepfakeTrainer

    settings = load_config(config, DeepfakeConfig)
    start = [] if start_from is None else [start_from]
    _refuse(out, resume, start, settings)
    for option, given, use in (("teacher", teacher, "lessons"), ("guide", guide, "guidance")):
        if given is not None and not any(getattr(stage, use) for stage in settings.stages):
            raise ConfigError(f"--{option} {given}: no stage of {config} has {use}; leave it out")
    train, val = _splits(data)
    run = DeepfakeTrainer(settings, train, val, out, _cache(cache), teacher, guide, device)
    if start_from is not None and not resume:
        run.start_from(start_from)
    _go(run, out, resume)


@app.command()
def defense(
    config: Path = _CONFIG,
    data: Path = _DATA,
    out: Path = _OUT,
    resume: bool = _RESUME,
    cache: Path | None = _CACHE,
    device: str = _DEVICE,
    weights: list[str] | None = typer.Option(
        None,
        metavar="[NAME=]FILE",
        help="Weights of a deepfake in place of its own; named where there are several deepfakes.",
    ),
    start_from: list[Path] | None = typer.Option(
        None,
        help="Begin with the weights of another run's export; of several, given each with this "
        "option, with their mean.",
    ),
    without: str = typer.Option(
        "", help="For an ablation: leave out L_pix, L_feat or L_adv (the paper's table 4)."
    ),
    weights_from: Path | None = typer.Option(
        None, help="Mirror folder that holds VGG16's weights (or UNMORPH_WEIGHTS_FROM)."
    ),
) -> None:
    """Train a perturbation generator against one or several frozen deepfakes."""
    require_torch()
    from unmorph import deepfakes
    from unmorph.perceptual import VGGFeatures
    from unmorph.training.config import DefenseConfig, load_config
    from unmorph.training.defense import DefenseTrainer
    from unmorph.weights.store import load_tensors

    settings = load_config(config, DefenseConfig)
    given = _weights_by_name(weights or [], tuple(settings.deepfakes))
    _refuse(out, resume, start_from or [], settings)
    if without:
        settings = dataclasses.replace(settings, without=without)
    train, val = _splits(data)
    features = None
    if settings.measures_features:
        tensors = load_tensors("vgg16", weights_from)
        features = VGGFeatures(settings.feature_layers, weights=tensors)
    networks = {
        name: deepfakes.load(name.partition(":")[0], given.get(name)) for name in settings.deepfakes
    }
    run = DefenseTrainer(settings, networks, train, val, out, _cache(cache), features, device)
    if start_from and not resume:
        run.start_from(start_from)
    _go(run, out, resume)


@app.command()
def classifier(
    config: Path = _CONFIG,
    data: Path = _DATA,
    out: Path = _OUT,
    resume: bool = _RESUME,
    cache: Path | None = _CACHE,
    device: str = _DEVICE,
) -> None:
    """Train an attribute classifier: the labeller of photos or the judge of edits."""
    require_torch()
    from unmorph.training.classifier import ClassifierTrainer
    from unmorph.training.config import ClassifierConfig, load_config

    settings = load_config(config, ClassifierConfig)
    _refuse(out, resume)
    train, val = _splits(data)
    _go(ClassifierTrainer(settings, train, val, out, _cache(cache), device), out, resume)


def _weights_by_name(given: list[str], names: tuple[str, ...]) -> dict[str, str]:
    """Read ``[NAME=]FILE`` of ``--weights``; without a name it is the only deepfake's.

    Raises:
        ConfigError: a name is missing, or is of no deepfake of the configuration; or a deepfake
            with a label of its own is given no weights of its own.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or name not in names:
            if len(names) > 1:
                ways = " or ".join(f"{name}=FILE" for name in names)
                raise ConfigError(f"--weights {text}: say of which deepfake: {ways}")
            name, file = names[0], text
        if not file:
            raise ConfigError(f"--weights {text}: name a file")
        if name in found:
            raise ConfigError(f"--weights {text}: {name} has been given weights already")
        found[name] = file
    for name in names:
        if ":" in name and name not in found:
            raise ConfigError(f"deepfakes: {name} needs its weights, --weights {name}=FILE")
    return found


def _refuse(
    out: Path,
    resume: bool,
    start: Sequence[Path] = (),
    settings: DeepfakeConfig | DefenseConfig | None = None,
) -> None:
    """Refuse, before the work, to begin or go on with a run as the options have it.

    Args:
        out: the run's folder.
        resume: whether the run goes on.
        start: the weights that it is to begin with, or began with.
        settings: the configuration, of a run that may begin with weights.

    Raises:
        ConfigError: there is nothing to go on from, a run would be overwritten, or what is given
            would not count.
        WeightsError: what it is to go on from is no checkpoint, or a file of weights is absent.
    """
    from unmorph.training.checkpoint import refuse_other_start
    from unmorph.training.loop import CHECKPOINT

    checkpoint = out / CHECKPOINT
    if resume and not checkpoint.exists():
        raise ConfigError(f"{checkpoint}: no checkpoint to go on from; leave out --resume")
    if not resume and checkpoint.exists():
        raise ConfigError(
            f"{checkpoint}: a run is here already; add --resume to go on, or choose another --out"
        )
    if settings is None:
        return
    if resume and start:
        refuse_other_start(checkpoint, type(settings), start)
    if resume or start:
        return
    if settings.amplify_start != 1:
        raise ConfigError(
            f"amplify_start = {settings.amplify_start}: amplifies what --start-from names; add it"
        )
    if getattr(settings, "fixed_statistics", False):
        raise ConfigError("fixed_statistics: keeps those of what --start-from names; add it")


def _splits(data: Path) -> tuple[FaceDataset, FaceDataset]:
    from unmorph.datasets.celeba import load_celeba

    return load_celeba(data, "train"), load_celeba(data, "val")


def _cache(folder: Path | None) -> Path:
    from unmorph.weights.store import cache_folder

    return folder or cache_folder() / "datasets"


def _go(run: _Run, out: Path, resume: bool) -> None:
    from unmorph.training.loop import CHECKPOINT, Stopped
    from unmorph.training.runlog import REPORTS, RunLog

    checkpoint = out / CHECKPOINT
    if resume:
        run.restore(checkpoint)
    else:  # of a run that ended before its first checkpoint
        (out / REPORTS).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    log = RunLog(out)
    try:
        run.run(log)
    except Stopped as stop:
        typer.echo(f"stopped; go on with --resume ({checkpoint} is written)", err=True)
        raise typer.Exit(STOPPED) from stop
    finally:
        log.close()

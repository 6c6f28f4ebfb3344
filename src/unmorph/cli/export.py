"""``unmorph export``: a training checkpoint as the ONNX file that everything else runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unmorph.cli._extras import require_torch
from unmorph.files import inode

if TYPE_CHECKING:
    from unmorph.defenses import PerturbationGenerator

app = typer.Typer(
    no_args_is_help=True, help="Write a training checkpoint as the ONNX file that unmorph runs."
)


def _onnx(output: Path) -> Path:
    if output.suffix != ".onnx":  # by which a network's file is told from a name
        raise typer.BadParameter(f"{output}: networks are ONNX, name one that ends in .onnx")
    return output


_CHECKPOINT = typer.Argument(..., help="checkpoint.pt of a training run.")
_OUT = typer.Option(
    ..., "-o", "--output", dir_okay=False, callback=_onnx, help="The ONNX file to write."
)


@app.command()
def deepfake(
    checkpoint: Path = _CHECKPOINT,
    output: Path = _OUT,
    gradient: bool = typer.Option(
        False, "--gradient", help="With its gradient, for gradient steps without torch."
    ),
    amplify: float = typer.Option(
        1.0, min=0.0, help="Factor of what a residual network adds to a face: stronger edits."
    ),
) -> None:
    """Export a StarGAN generator (the average of its weights)."""
    require_torch()
    import torch

    from unmorph.attributes import ATTRIBUTES
    from unmorph.deepfakes.gradient import DifferentiatedGenerator
    from unmorph.deepfakes.stargan import Generator
    from unmorph.export import example_faces, export_onnx
    from unmorph.training.checkpoint import load_checkpoint
    from unmorph.training.config import DeepfakeConfig

    state, config = load_checkpoint(checkpoint, DeepfakeConfig)
    kind = DifferentiatedGenerator if gradient else Generator
    network = kind(config.conv_dim, len(ATTRIBUTES), config.repeat_num, config.residual)
    network.load_state_dict(state["average"])
    network.amplify_(amplify)
    targets = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 1]])
    inputs = {"faces": example_faces(), "targets": targets}
    outputs = ["edited", "gradient"] if gradient else ["edited"]
    _done(output, export_onnx(network, output, inputs=inputs, outputs=outputs, metadata={}))


@app.command()
def defense(
    checkpoint: Path = typer.Argument(
        ..., help="checkpoint.pt of a training run, or an ONNX file exported before."
    ),
    output: Path = _OUT,
    mean_with: list[Path] | None = typer.Option(
        None,
        help="Another run's export: take the mean of their weights; repeatable, and one given "
        "twice weighs twice. Both must have gone on from one start.",
    ),
    amplify: float = typer.Option(
        1.0, min=0.0, help="Factor of the perturbation, which a mean makes smaller."
    ),
    detail: float | None = typer.Option(
        None,
        min=0.0,
        help="Take away the part of the perturbation that a Gaussian of so many pixels leaves: "
        "casts of colour. 0: none; by default as in training.",
    ),
) -> None:
    """Export a perturbation generator (the average of its weights)."""
    require_torch()
    from unmorph.export import example_faces, export_onnx

    if inode(output) in {inode(path) for path in (checkpoint, *(mean_with or ()))} - {None}:
        raise typer.BadParameter(f"--output {output} is read here: name another file")
    opened = _exported if checkpoint.suffix == ".onnx" else _trained
    network, about = opened(checkpoint)
    if detail is not None:
        network.take_casts_(detail)
    network.load_mean_(mean_with or [], own=True)
    network.amplify_(amplify)
    inputs = {"faces": example_faces()}
    # A mean has had more than the training of one.
    metadata = {"epsilon": repr(network.epsilon), **about, **({"budget": ""} if mean_with else {})}
    difference = export_onnx(
        network, output, inputs=inputs, outputs=["perturbation"], metadata=metadata
    )
    _done(output, difference)


def _trained(checkpoint: Path) -> tuple[PerturbationGenerator, dict[str, str]]:
    """Return a run's network, and what its export says of the training."""
    from unmorph.defenses import PerturbationGenerator
    from unmorph.training.checkpoint import load_checkpoint
    from unmorph.training.config import DefenseConfig

    state, config = load_checkpoint(checkpoint, DefenseConfig)
    network = PerturbationGenerator(
        config.width, config.epsilon, config.max_width, config.smooth, config.detail
    )
    network.load_state_dict(state["average"])
    # One that began with trained weights has had more than this run.
    budget = "" if state.get("starts") else f"{state['step']:,} steps of {config.batch_size}"
    return network, {"without": config.without, "budget": budget}


def _exported(path: Path) -> tuple[PerturbationGenerator, dict[str, str]]:
    """Return an export's network, and what it says of the training."""
    from unmorph.defenses import PerturbationGenerator
    from unmorph.runtime import OnnxDefense

    about = OnnxDefense(path)
    network = PerturbationGenerator.from_export(path)
    return network, {"without": about.without or "", "budget": about.budget or ""}


@app.command()
def classifier(checkpoint: Path = _CHECKPOINT, output: Path = _OUT) -> None:
    """Export an attribute classifier."""
    require_torch()
    from unmorph.classifier import AttributeClassifier
    from unmorph.export import example_faces, export_onnx
    from unmorph.training.checkpoint import load_checkpoint
    from unmorph.training.config import ClassifierConfig

    state, config = load_checkpoint(checkpoint, ClassifierConfig)
    network = AttributeClassifier(config.width)
    network.load_state_dict(state["classifier"])
    inputs = {"faces": example_faces()}
    _done(output, export_onnx(network, output, inputs=inputs, outputs=["logits"], metadata={}))


def _done(output: Path, difference: float) -> None:
    size = output.stat().st_size / 1e6
    typer.echo(f"wrote {output}: {size:.1f} MB, within {difference:.1e} of the checkpoint")

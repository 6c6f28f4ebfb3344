"""``unmorph bench-defenses``: how long each defense takes for a face."""

from __future__ import annotations

from pathlib import Path

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import COMPILED, EPSILON, OUTPUT, SKIP_CURRENT, SUBSET


def command(
    data: Path = typer.Option(..., help="Folder or zip of the photos."),
    output: Path = OUTPUT,
    defense: list[str] = typer.Option(
        ["shipped", "pgd-paper", "pgd"],
        metavar="NAME[:KEY=VALUE,...]",
        help="A defense's name, with options after a colon, or an ONNX file; repeatable.",
    ),
    dataset: str = typer.Option("celeba", help="celeba, lfw, ffhq, or folder (any faces)."),
    split: str = typer.Option("test", help="CelebA's partition: train, val or test."),
    deepfake: str = typer.Option("stargan", help="A deepfake's name."),
    deepfake_weights: Path | None = typer.Option(
        None, help="Weights in place of the shipped ones."
    ),
    labeller: Path | None = typer.Option(None, help="ONNX classifier for sets without labels."),
    subset: list[str] = SUBSET,
    faces: int = typer.Option(100, min=1, help="Faces, drawn at random but always the same."),
    budget: float | None = typer.Option(
        None, min=0, help="Cut a method short after so many seconds; the record says where."
    ),
    epsilon: float | None = EPSILON,
    device: str = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ..."),
    compiled: bool = COMPILED,
    skip_current: bool = SKIP_CURRENT,
) -> None:
    """Time defenses one after the other on the same faces, warm; writes one JSON record."""
    require_torch()
    from typing import Any

    from rich.console import Console
    from rich.progress import Progress

    from unmorph.cli._pairs import parse_defense
    from unmorph.datasets.subsets import draw
    from unmorph.evaluation.participants import (
        labeller_for,
        open_deepfake,
        open_defense,
        open_faces,
    )
    from unmorph.evaluation.record import method_name, write_record
    from unmorph.evaluation.run import wants_labeller
    from unmorph.evaluation.timing import is_timed, time_defenses

    whole, about_faces = open_faces(dataset, data, split, subset)
    drawn = draw(whole, faces)
    network, about = open_deepfake(deepfake, deepfake_weights, device, compiled)
    methods = []
    for text in defense:
        name, options = parse_defense(text)
        methods.append(open_defense(name, network, epsilon=epsilon, options=options))
    fill_in = labeller_for(wants_labeller(network, drawn), labeller)
    setting: dict[str, Any] = {
        "size": network.size,
        "about_dataset": about_faces,
        "about_deepfake": about,
        "labeller": fill_in,
        "budget": budget,
        "device": device,
        "compiled": compiled,
    }
    if skip_current and is_timed(output, methods, drawn, **setting):
        typer.echo(f"{output} is current")
        return
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("faces", total=len(methods) * faces)
        record = time_defenses(
            methods,
            drawn,
            **setting,
            on_face=lambda: bar.advance(task),
        )
    write_record(record, output)
    for method in record.methods:
        time = method.seconds
        typer.echo(f"{method_name(method.defense)}: {time.mean:.4f} s a face, {time.count} faces")
    typer.echo(f"wrote {output}")

"""``unmorph tune``: search the options of an iterative defense on a validation set."""

from __future__ import annotations

from pathlib import Path

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import COMPILED, EPSILON, OUTPUT, SEED, SKIP_CURRENT


def command(
    defense: str = typer.Argument(..., help="An iterative defense: pgd, i-fgsm, mi-fgsm ..."),
    data: Path = typer.Option(..., help="Folder or zip of the photos."),
    output: Path = OUTPUT,
    grid: list[str] = typer.Option(
        ["step_size=0.001,0.002,0.005,0.01", "steps=10,100"],
        metavar="KEY=VALUE,VALUE...",
        help="Values to try of an option, with semicolons between them where they hold commas; all "
        "combinations are tried; repeatable.",
    ),
    dataset: str = typer.Option("celeba", help="celeba, lfw, ffhq, or folder (any faces)."),
    split: str = typer.Option("val", help="CelebA's partition: val or train, never test."),
    deepfake: str = typer.Option("stargan", help="A deepfake's name."),
    deepfake_weights: Path | None = typer.Option(
        None, help="Weights in place of the shipped ones."
    ),
    labeller: Path | None = typer.Option(None, help="ONNX classifier for sets without labels."),
    limit: int = typer.Option(32, min=1, help="Faces to try on, always the same ones."),
    batch_size: int = typer.Option(16, min=1, help="Faces at once."),
    epsilon: float = EPSILON,
    seed: int = SEED,
    device: str = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ..."),
    compiled: bool = COMPILED,
    skip_current: bool = SKIP_CURRENT,
) -> None:
    """Try combinations of options and say which suppresses edits most; writes one JSON record."""
    require_torch()
    from collections.abc import Mapping
    from typing import Any

    from unmorph.cli._pairs import parse_pairs
    from unmorph.datasets.named import load_named
    from unmorph.datasets.subsets import draw
    from unmorph.evaluation.participants import open_labeller, open_subject
    from unmorph.evaluation.record import write_record
    from unmorph.evaluation.run import Subject
    from unmorph.evaluation.tuning import is_tuned, tune
    from unmorph.runtime import CLASSIFIER

    if dataset == "celeba" and split == "test":
        raise typer.BadParameter("--split test is what is reported: tune on val or train")
    faces = draw(load_named(dataset, data, split), limit)

    def build(options: Mapping[str, str]) -> Subject:
        return open_subject(
            deepfake,
            defense,
            weights=deepfake_weights,
            epsilon=epsilon,
            seed=seed,
            options=options,
            device=device,
            compiled=compiled,
        )

    def show(trial: dict[str, Any]) -> None:
        chosen = " ".join(f"{key}={value}" for key, value in trial["options"].items())
        psnr = trial["input_psnr"]
        shown = "nothing changed" if psnr is None else f"{psnr:.2f} dB"
        typer.echo(f"{chosen}: s {trial['s']:.4f}, {shown}")

    values = {
        key: texts.split(";" if ";" in texts else ",") for key, texts in parse_pairs(grid).items()
    }
    about = {"name": dataset, "split": split if dataset == "celeba" else None}
    fill_in = None if faces.labels is not None else open_labeller(labeller or CLASSIFIER)
    if skip_current and is_tuned(
        output, build, values, faces, about_dataset=about, labeller=fill_in, seed=seed
    ):
        typer.echo(f"{output} is current")
        return
    record = tune(
        build,
        values,
        faces,
        about_dataset=about,
        labeller=fill_in,
        batch_size=batch_size,
        device=device,
        seed=seed,
        on_trial=show,
    )
    write_record(record, output)
    typer.echo("best:")
    show(record.best)
    typer.echo(f"wrote {output}")

"""``unmorph tune``: search the options of an iterative defense on a validation set."""

from __future__ import annotations

import shutil
from pathlib import Path

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import COMPILED, EPSILON, OUTPUT, SEED, SKIP_CURRENT, SUBSET
from unmorph.cli._progress import progress


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
    dataset: str = typer.Option(
        "celeba", help="celeba, or folder (any faces); not lfw and ffhq, which are reported."
    ),
    split: str = typer.Option("val", help="CelebA's partition: val or train, never test."),
    deepfake: str = typer.Option("stargan", help="A deepfake's name."),
    deepfake_weights: Path | None = typer.Option(
        None, help="Weights in place of the shipped ones."
    ),
    labeller: Path | None = typer.Option(None, help="ONNX classifier for sets without labels."),
    subset: list[str] = SUBSET,
    limit: int = typer.Option(32, min=1, help="Faces to try on, always the same ones."),
    batch_size: int = typer.Option(16, min=1, help="Faces at once."),
    epsilon: float | None = EPSILON,
    seed: int = SEED,
    device: str = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ..."),
    compiled: bool = COMPILED,
    skip_current: bool = SKIP_CURRENT,
) -> None:
    """Try combinations of options and say which suppresses edits most; writes one JSON record.

    A stopped search goes on with the combination that it was at when the same command is given
    again.
    """
    require_torch()
    from collections.abc import Mapping
    from typing import Any

    from unmorph.cli._pairs import parse_pairs
    from unmorph.datasets.subsets import draw
    from unmorph.evaluation.participants import (
        labeller_for,
        open_deepfake,
        open_faces,
        open_subject,
    )
    from unmorph.evaluation.record import write_record
    from unmorph.evaluation.run import Subject, wants_labeller
    from unmorph.evaluation.tuning import combinations, is_tuned, tune

    if dataset == "celeba" and split == "test":
        raise typer.BadParameter("--split test is what is reported: tune on val or train")
    if dataset in ("lfw", "ffhq"):
        raise typer.BadParameter(
            f"--dataset {dataset} is what is reported: tune on celeba's val or train, or on faces "
            "of your own as --dataset folder"
        )
    whole, about = open_faces(dataset, data, split, subset)
    faces = draw(whole, limit)

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

    def told(trial: Mapping[str, Any]) -> str:
        chosen = " ".join(f"{key}={value}" for key, value in trial["options"].items())
        psnr = trial["input_psnr"]
        shown = "nothing changed" if psnr is None else f"{psnr:.2f} dB"
        return f"{chosen}: s {trial['s']:.4f}, {shown}"

    values = {
        key: texts.split(";" if ";" in texts else ",") for key, texts in parse_pairs(grid).items()
    }
    network, _ = open_deepfake(deepfake, deepfake_weights)
    fill_in = labeller_for(wants_labeller(network, faces), labeller)
    if skip_current and is_tuned(
        output, build, values, faces, about_dataset=about, labeller=fill_in, seed=seed
    ):
        typer.echo(f"{output} is current")
        return
    finished = output.with_name(output.name + ".trials")
    seen = 0
    with progress(len(faces) * len(combinations(values))) as (say, advance):

        def move(done: int, _: int) -> None:
            nonlocal seen
            advance(done - seen)
            seen = done

        record = tune(
            build,
            values,
            faces,
            about_dataset=about,
            labeller=fill_in,
            batch_size=batch_size,
            device=device,
            seed=seed,
            on_trial=lambda trial: say(told(trial)),
            finished=finished,
            on_progress=move,
        )
    write_record(record, output)
    shutil.rmtree(finished)
    typer.echo("best:")
    typer.echo(told(record.best))
    typer.echo(f"wrote {output}")

"""``unmorph evaluate``: measure a defense against a deepfake over a set of faces."""

from __future__ import annotations

from pathlib import Path

import typer

from unmorph.cli._extras import require


def command(
    data: Path = typer.Option(
        ..., help="Folder or zip of the photos, as the publisher lays it out."
    ),
    output: Path = typer.Option(..., "-o", "--output", help="The JSON record to write."),
    dataset: str = typer.Option("celeba", help="celeba, lfw, ffhq, or folder (any faces)."),
    split: str = typer.Option("test", help="CelebA's partition: train, val or test."),
    deepfake: str = typer.Option("stargan", help="A deepfake's name, or an ONNX file."),
    deepfake_weights: Path | None = typer.Option(
        None, help="Weights in place of the shipped ones."
    ),
    defense: str = typer.Option("shipped", help="shipped, none, noise, or an ONNX file."),
    judge: Path | None = typer.Option(None, help="ONNX classifier that judges the edits."),
    labeller: Path | None = typer.Option(
        None, help="ONNX classifier for sets without labels, in place of the shipped one."
    ),
    metrics: str = typer.Option("all", help="all, fast (l2, psnr, ssim), or names with commas."),
    limit: int | None = typer.Option(None, min=1, help="Only the first so many faces."),
    batch_size: int = typer.Option(16, min=1, help="Faces at once."),
    epsilon: float = typer.Option(0.05, min=0, help="How far the defense `noise` goes, of [-1,1]."),
    seed: int = typer.Option(0, help="Seed of the defense `noise`."),
    device: str = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ..."),
    skip_unreadable: bool = typer.Option(False, help="Leave out photos that cannot be read."),
) -> None:
    """Measure a defense against a deepfake over a set of faces; writes one JSON record.

    A stopped run goes on where it was when the same command is given again.
    """
    require("train")
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from unmorph.datasets.named import load_named
    from unmorph.evaluation.measures import parse_measures
    from unmorph.evaluation.participants import SHIPPED_CLASSIFIER, open_labeller, open_subject
    from unmorph.evaluation.record import write_record
    from unmorph.evaluation.run import drop_unreadable, evaluate
    from unmorph.evaluation.tables import render_summary

    console = Console(stderr=True)
    metric_names = parse_measures(metrics)
    faces = load_named(dataset, data, split)
    if skip_unreadable:
        faces, dropped = drop_unreadable(faces)
        for name in dropped:
            console.print(f"left out, unreadable: {name}")
    subject = open_subject(
        deepfake,
        defense,
        weights=deepfake_weights,
        judge=judge,
        epsilon=epsilon,
        seed=seed,
        device=device,
    )
    fill_in = None
    if faces.labels is None:
        fill_in = open_labeller(labeller or SHIPPED_CLASSIFIER)
    progress_file = output.with_name(output.name + ".progress.npz")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{dataset}, {deepfake}, {defense}", total=None)
        record = evaluate(
            subject,
            faces,
            about_dataset={"name": dataset, "split": split if dataset == "celeba" else None},
            metric_names=metric_names,
            labeller=fill_in,
            batch_size=batch_size,
            limit=limit,
            device=device,
            seed=seed,
            progress_file=progress_file,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    write_record(record, output)
    progress_file.unlink()
    typer.echo(render_summary(record))
    typer.echo(f"wrote {output}")

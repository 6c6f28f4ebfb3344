"""``unmorph evaluate``: measure a defense against a deepfake over a set of faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import COMPILED, EPSILON, OUTPUT, SEED, SKIP_CURRENT, SUBSET


def command(
    data: Path = typer.Option(
        ..., help="Folder or zip of the photos, as the publisher lays it out."
    ),
    output: Path = OUTPUT,
    dataset: str = typer.Option("celeba", help="celeba, lfw, ffhq, or folder (any faces)."),
    split: str = typer.Option("test", help="CelebA's partition: train, val or test."),
    deepfake: str = typer.Option("stargan", help="A deepfake's name, or an ONNX file."),
    deepfake_weights: Path | None = typer.Option(
        None, help="Weights in place of the shipped ones."
    ),
    defense: str = typer.Option(
        "shipped", help="A defense's name (shipped, pgd, refine-5, none ...), or an ONNX file."
    ),
    option: list[str] = typer.Option(
        [], metavar="KEY=VALUE", help="Change an option of the defense, as in steps=10; repeatable."
    ),
    judge: Path | None = typer.Option(
        None,
        help="ONNX classifier that judges the edits, in place of the shipped one; edits that are "
        "no attributes are not judged.",
    ),
    labeller: Path | None = typer.Option(
        None, help="ONNX classifier for sets without labels, in place of the shipped one."
    ),
    channel: str = typer.Option(
        "none", help="What befalls a photo on its way, as in jpeg-75 or resize-50>jpeg-75."
    ),
    protocol: str = typer.Option(
        "face", help="face (the paper's crops), photo (whole photos), composed (large photos)."
    ),
    crop: str = typer.Option(
        "box", help="How the attacker crops whole photos: box, landmarks or jitter."
    ),
    saved_as: str = typer.Option("jpg", help="How whole photos are saved: jpg, png or webp."),
    repeat: int = typer.Option(1, min=1, help="How often the attacker applies each edit."),
    keep_faces: Path | None = typer.Option(
        None,
        file_okay=False,
        metavar="FOLDER",
        help="Keep protected faces here, and take those that are: a slow attack serves for many "
        "channels.",
    ),
    metrics: str = typer.Option("all", help="all, fast (l2, psnr, ssim), or names with commas."),
    subset: list[str] = SUBSET,
    limit: int | None = typer.Option(None, min=1, help="Only the first so many faces."),
    batch_size: int | None = typer.Option(
        None, min=1, help="Faces at once, 16 if not given; whole photos go one by one."
    ),
    epsilon: float | None = EPSILON,
    seed: int = SEED,
    device: str = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ..."),
    compiled: bool = COMPILED,
    skip_unreadable: bool = typer.Option(False, help="Leave out photos that cannot be read."),
    require_all: bool = typer.Option(
        False,
        "--require-all",
        help="Stop where photos are missing that the set's lists name, or fewer are there than "
        "--limit asks for.",
    ),
    skip_current: bool = SKIP_CURRENT,
) -> None:
    """Measure a defense against a deepfake over a set of faces; writes one JSON record.

    A stopped run goes on where it was when the same command is given again.
    """
    require_torch()
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from unmorph import channels
    from unmorph.attributes import are_attributes
    from unmorph.cli._pairs import parse_pairs
    from unmorph.errors import ConfigError, DataError, first_few
    from unmorph.evaluation.composed import PER_PHOTO
    from unmorph.evaluation.measures import parse_measures
    from unmorph.evaluation.participants import labeller_for, open_faces, open_subject
    from unmorph.evaluation.photos import Journey, evaluate_photos, open_photos
    from unmorph.evaluation.record import write_record
    from unmorph.evaluation.remembered import remember_faces
    from unmorph.evaluation.repeated import repeat_edits
    from unmorph.evaluation.run import AlreadyMeasuredError, describe_files, evaluate
    from unmorph.evaluation.tables import render_summary
    from unmorph.runtime import JUDGE

    console = Console(stderr=True)
    metric_names = parse_measures(metrics)
    faces, about = open_faces(dataset, data, split, subset)

    def fall_short(shortage: str) -> None:
        if require_all:
            raise DataError(f"{shortage}; add what is missing, or leave out --require-all")
        console.print(shortage)

    # A list of photos names what counts, and is not to be had in part.
    if faces.missing and not any(name.endswith(".txt") for name in subset):
        fall_short(
            f"{data}: lacks {len(faces.missing):,} of the {faces.listed:,} photos that its lists "
            f"name for {split}: {first_few(faces.missing)}"
        )
    left_out = []
    each = PER_PHOTO if protocol == "composed" else 1
    read = None if limit is None else limit * each
    if skip_unreadable:
        with console.status("looking for photos that cannot be read"):
            left_out = faces.unreadable(read)
        for name in left_out:
            console.print(f"left out, unreadable: {name}")
        faces = faces.without(left_out)
    if read is not None and read > len(faces):
        fall_short(f"{data}: {len(faces):,} faces where --limit {limit} asks for {read:,}")
    subject = open_subject(
        deepfake,
        defense,
        weights=deepfake_weights,
        judge=judge or JUDGE,
        epsilon=epsilon,
        seed=seed,
        options=parse_pairs(option),
        device=device,
        compiled=compiled,
    )
    if keep_faces is not None:
        subject = remember_faces(subject, keep_faces, seed)
    subject = repeat_edits(subject, repeat)
    journey = Journey(None, crop, saved_as, seed)
    if protocol == "face" and journey != Journey(seed=seed):
        raise ConfigError("--crop and --saved-as are of whole photos: add --protocol photo")
    if protocol != "face" and batch_size is not None:
        raise ConfigError("--batch-size is of the paper's crops: whole photos go one by one")
    sent = None if channel == "none" else channels.load(channel)
    has_labels = protocol == "face" and faces.labels is not None
    fill_in = labeller_for(are_attributes(subject.deepfake.edits) and not has_labels, labeller)
    progress_file = output.with_name(output.name + ".progress.npz")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{dataset}, {deepfake}, {defense}", total=None)
        if left_out:
            about["left_out"] = left_out
        present = output if skip_current else None

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            if protocol == "face":
                record = evaluate(
                    subject,
                    faces,
                    about_dataset=about,
                    metric_names=metric_names,
                    labeller=fill_in,
                    channel=sent,
                    batch_size=batch_size or 16,
                    limit=limit,
                    device=device,
                    seed=seed,
                    present=present,
                    progress_file=progress_file,
                    on_progress=advance,
                )
            else:
                record = evaluate_photos(
                    subject,
                    open_photos(protocol, faces, seed),
                    replace(journey, channel=sent),
                    about_dataset={**about, **describe_files(faces, read=read)},
                    metric_names=metric_names,
                    labeller=fill_in,
                    limit=limit,
                    device=device,
                    present=present,
                    progress_file=progress_file,
                    on_progress=advance,
                )
        except AlreadyMeasuredError:
            bar.stop()
            typer.echo(f"{output} is current")
            return
    write_record(record, output)
    progress_file.unlink(missing_ok=True)
    typer.echo(render_summary(record))
    typer.echo(f"wrote {output}")

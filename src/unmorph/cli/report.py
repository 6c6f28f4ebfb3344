"""``unmorph report``: render records of ``unmorph evaluate``, ``bench-defenses`` and ``tune``."""

from __future__ import annotations

from pathlib import Path

import typer

from unmorph.cli._extras import require_torch


def command(
    records: list[Path] = typer.Argument(
        ..., help="JSON records that `unmorph evaluate`, `bench-defenses` and `tune` wrote."
    ),
    output: list[Path] = typer.Option(
        ...,
        "-o",
        "--output",
        dir_okay=False,
        help="The .md, .html or .tex file to write; repeatable.",
    ),
    picture: list[Path] = typer.Option(
        [], help="A PNG or JPEG to show, as `unmorph figure` draws it; HTML holds it; repeatable."
    ),
) -> None:
    """Render records as tables with the paper's own numbers beside them."""
    require_torch()
    from unmorph.errors import DataError
    from unmorph.evaluation.document import Picture, render
    from unmorph.evaluation.record import read_record
    from unmorph.evaluation.tables import build_report
    from unmorph.files import write_whole

    pictures = [Picture.open(path) for path in picture]
    document = build_report([read_record(path) for path in records], pictures)
    texts = {path: render(document, path) for path in output}
    for path, text in texts.items():
        write_whole(path, text.encode(), DataError)
        typer.echo(f"wrote {path}")

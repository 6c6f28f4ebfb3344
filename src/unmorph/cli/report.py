"""``unmorph report``: render records of ``unmorph evaluate``."""

from __future__ import annotations

from pathlib import Path

import typer

from unmorph.cli._extras import require


def command(
    records: list[Path] = typer.Argument(..., help="JSON records that `unmorph evaluate` wrote."),
    output: Path = typer.Option(..., "-o", "--output", help="The Markdown file to write."),
) -> None:
    """Render records as Markdown tables, the paper's own numbers beside them."""
    require("train")
    from unmorph.evaluation.record import read_record, write_whole
    from unmorph.evaluation.tables import render_report

    text = render_report([read_record(path) for path in records])
    write_whole(output, text.encode())
    typer.echo(f"wrote {output}")

"""``unmorph weights``: list, fetch and verify the networks that unmorph did not train."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True, help="Networks of others: list, fetch, verify.")

_MIRROR = typer.Option(
    None,
    "--from",
    help="Folder that holds the file, or the publisher's download of it.",
    envvar="UNMORPH_WEIGHTS_FROM",
    show_envvar=True,
)


@app.command("list")
def list_weights() -> None:
    """Print the catalog."""
    from rich.console import Console
    from rich.table import Column, Table

    from unmorph.weights import entry, names

    columns = ("name", "what", "licence", "official source")
    # Names and addresses are there to be copied: never cut short.
    table = Table(*(Column(column, overflow="fold") for column in columns))
    for name in names():
        item = entry(name)
        table.add_row(name, item.note, item.licence, item.url or "none: mirror folder only")
    Console().print(table)


@app.command()
def fetch(
    name: str = typer.Argument(..., help="A name that `unmorph weights list` prints."),
    mirror: Path | None = _MIRROR,
) -> None:
    """Make one network available, verified by its SHA-256, and print its path."""
    from unmorph.weights import locate

    typer.echo(locate(name, mirror))


@app.command()
def verify(mirror: Path | None = _MIRROR) -> None:
    """Check every file of the catalog that is in the mirror folder or in the cache."""
    from unmorph.errors import WeightsError
    from unmorph.weights import entry, names
    from unmorph.weights.store import cache_folder, mirror_folder, verified

    folders = [folder for folder in (mirror_folder(mirror), cache_folder()) if folder]
    wrong = 0
    for name in names():
        item = entry(name)
        paths = [path for folder in folders if (path := folder / item.filename).is_file()]
        if not paths:
            typer.echo(f"absent   {name}")
        for path in paths:
            try:
                typer.echo(f"good     {name}  {verified(item, path)}")
            except WeightsError as error:
                wrong += 1
                typer.echo(f"refused  {error}")
    if wrong:
        raise typer.Exit(1)

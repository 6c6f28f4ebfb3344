"""Options that several commands have, and what they make sure of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

#: What the program ends with when Ctrl-C stopped it, as a shell has it.
STOPPED = 130


def _json(output: Path) -> Path:
    if output.suffix.lower() != ".json":
        raise typer.BadParameter(f"{output}: records are JSON, name one that ends in .json")
    refuse_place(output)
    return output


def refuse_place(output: Path) -> None:
    """Refuse what cannot be written at once, not after the work.

    Raises:
        typer.BadParameter: its folder, or the one to make it in, cannot be written to.
    """
    there = next(folder for folder in output.absolute().parents if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise typer.BadParameter(f"{output}: {there} is no folder to write in")


OUTPUT: Any = typer.Option(
    ..., "-o", "--output", dir_okay=False, callback=_json, help="The JSON record to write."
)

OVERWRITE: Any = typer.Option(False, "--overwrite", help="Replace a picture that is there.")

EPSILON: Any = typer.Option(
    None,
    min=0,
    help="How far a pixel may change, of [-1,1]; 0.05 if not given, but a trained network has its "
    "own.",
)

SEED: Any = typer.Option(0, min=0, help="Seed of what a defense draws at random.")

COMPILED: Any = typer.Option(
    False,
    "--compile",
    help="Compile the deepfake, which takes minutes and a C++ compiler: long searches by gradient "
    "steps are done sooner.",
)

SUBSET: Any = typer.Option(
    [],
    help="A fixed part of the set: paper-200 (for slow methods), or a .txt file with "
    "the names of its photos; repeatable, each a part of the one before.",
)

#: A measured record costs minutes to hours: `unmorph experiment` asks for none twice.
SKIP_CURRENT: Any = typer.Option(
    False,
    "--skip-current",
    help="Do nothing where the output is of the same faces, networks and options already.",
)


def refuse_picture(
    option: str, picture: Path, read: Iterable[Path], *, overwrite: bool = True
) -> None:
    """Refuse to draw a picture in place of what is read, or where or as nobody can write it.

    Args:
        option: the one that names the picture, for the message.
        picture: the file to make.
        read: the files that the command reads, and folders of which no file is replaced.
        overwrite: whether it may replace any other file.

    Raises:
        typer.BadParameter: the message says what to choose.
    """
    from unmorph.photo import WRITABLE

    if picture.suffix.lower() not in WRITABLE:
        raise typer.BadParameter(f"{option} {picture}: choose a suffix of {', '.join(WRITABLE)}")
    refuse_place(picture)
    place = picture.resolve()
    for path in (path.resolve() for path in read):
        if place == path or (picture.exists() and path in place.parents):
            raise typer.BadParameter(f"{option} {picture} is read here: name another file")
    if picture.exists() and not overwrite:
        raise typer.BadParameter(
            f"{option} {picture} is there already: name another, or replace it with --overwrite"
        )

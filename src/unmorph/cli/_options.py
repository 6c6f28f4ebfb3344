"""Options that several commands have, and what they make sure of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

#: A folder is refused at once, not when the record is to be written.
OUTPUT: Any = typer.Option(..., "-o", "--output", dir_okay=False, help="The JSON record to write.")

SEED: Any = typer.Option(0, min=0, help="Seed of what a defense draws at random.")

#: A measured record costs minutes to hours: `unmorph experiment` asks for none twice.
SKIP_CURRENT: Any = typer.Option(
    False,
    "--skip-current",
    help="Do nothing where the output is of the same faces, networks and options already.",
)


def refuse_picture(option: str, picture: Path, photos: Iterable[Path]) -> None:
    """Refuse to draw a picture in place of one of the photos, or of a kind that nobody can write.

    Args:
        option: the one that names the picture, for the message.
        picture: the file to make.
        photos: what the command reads.

    Raises:
        typer.BadParameter: the message says what to choose.
    """
    from unmorph.photo import WRITABLE

    if picture.suffix.lower() not in WRITABLE:
        raise typer.BadParameter(f"{option} {picture}: choose a suffix of {', '.join(WRITABLE)}")
    if picture.resolve() in {photo.resolve() for photo in photos}:
        raise typer.BadParameter(f"{option} {picture} is one of the photos: name another file")

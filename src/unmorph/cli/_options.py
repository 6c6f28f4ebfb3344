"""Options that several commands have."""

from __future__ import annotations

from typing import Any

import typer

#: A measured record costs minutes to hours: `unmorph experiment` asks for none twice.
SKIP_CURRENT: Any = typer.Option(
    False,
    "--skip-current",
    help="Do nothing where the output is of the same faces, networks and options already.",
)

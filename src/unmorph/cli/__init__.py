"""The command line, one command a file.

Every module here whose name does not start with an underscore is a command of the same name
(``_`` becomes ``-``) and defines one of

- ``command``: a function that Typer turns into ``unmorph <module>``, or
- ``app``: a ``typer.Typer`` that becomes the command group ``unmorph <module> ...``.

All modules are imported to print ``unmorph --help``, so they import heavy packages (torch,
onnxruntime, numpy) inside their functions. An ``UnmorphError`` that leaves a command is printed
as one line on stderr and ends the program with the error's ``exit_code``; so is what the system
refuses, such as a folder without permission, with 1.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import io
import pkgutil
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from unmorph import __version__
from unmorph.errors import UnmorphError

#: The folder of the networks in this package; their own module would load onnxruntime.
_SHIPPED = Path(__file__).parents[1] / "weights" / "shipped"


class _Group(TyperGroup):
    """Ends a command that raised one of our errors with one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UnmorphError as error:
            typer.echo(f"unmorph: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read our output has gone: click knows how
                raise
            typer.echo(f"unmorph: {error}", err=True)
            raise typer.Exit(1) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unmorph {__version__}")
        for path in sorted(_SHIPPED.glob("*.onnx")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            typer.echo(f"{path.name:24} sha256 {digest}")
        raise typer.Exit


app = typer.Typer(
    name="unmorph",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version, and the networks with their hashes.",
    ),
) -> None:
    """Protect portraits against deepfake editing."""


def _register() -> None:
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        name = module_info.name.replace("_", "-")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(module.command)


_register()


def main() -> None:
    """Run the command line (the ``unmorph`` entry point)."""
    for stream in (sys.stdout, sys.stderr):  # a file's name need not be text that they can show
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    app()

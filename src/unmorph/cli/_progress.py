"""A bar on a terminal for what takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer


@contextmanager
def progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[..., None]]]:
    """Yield what prints a line, and what counts one more or several, beside a bar on a terminal.

    Args:
        total: what is to be counted; 0 for no bar.
    """
    if not total or not sys.stderr.isatty():
        yield typer.echo, lambda count=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]}")
    with Progress(
        BarColumn(), MofNCompleteColumn(), rate, TextColumn("left:"), TimeLeft(), console=console
    ) as bar:
        task = bar.add_task("", total=total, rate="")

        def say(text: str) -> None:
            if sys.stdout.isatty():  # the same terminal: above the bar
                console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
            else:
                typer.echo(text)

        def advance(count: int = 1) -> None:
            bar.advance(task, count)
            shown = bar.tasks[0]
            if shown.elapsed:
                bar.update(task, rate=f"{shown.completed / shown.elapsed:.1f} a second")

        yield say, advance

"""``unmorph experiment``: carry out a plan, all the commands of an experiment."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unmorph.cli._extras import require

if TYPE_CHECKING:
    from unmorph.evaluation.plan import Step


def command(
    context: typer.Context,
    plan: Path = typer.Argument(..., help="A TOML file; configs/experiments/ holds ours."),
    data: list[str] = typer.Option(
        [],
        metavar="SET=PATH",
        help="Folder or zip of a set of faces, as in lfw=FOLDER; repeatable. Steps on sets that "
        "are not given are left out.",
    ),
    results: Path = typer.Option(Path("results"), help="Folder for the records."),
    work: Path = typer.Option(
        Path("work"), help="Folder for what is kept on the way: checkpoints, protected faces."
    ),
    only: str = typer.Option(
        "", metavar="TEXT", help="Only the steps whose command holds this text."
    ),
    again: bool = typer.Option(False, "--again", help="Measure again what is measured already."),
    show: bool = typer.Option(False, "--list", help="Print the commands and run none."),
) -> None:
    """Carry out a plan: each of its commands, but for records that are there already.

    A record is there already where it is of the same faces, networks and options. A stopped
    command goes on where it was when the plan is carried out again. A command that fails is
    reported and the others are still done.
    """
    require("train")
    from unmorph.cli._pairs import parse_pairs
    from unmorph.cli.train import STOPPED
    from unmorph.evaluation.plan import read_plan

    folders = {name: Path(path) for name, path in parse_pairs(data).items()}
    steps = read_plan(plan, {"results": results, "work": work, "plan": plan.parent})
    root: Any = context.find_root().command
    chosen = []
    missing: dict[str, int] = {}
    for step in steps:
        words = _words(root, step, folders, again=again)
        if only not in shlex.join(words):
            continue
        if not step.dataset or step.dataset in folders:
            chosen.append(words)
        else:
            missing[step.dataset] = missing.get(step.dataset, 0) + 1
    failed = 0
    for number, words in enumerate(chosen, 1):
        line = shlex.join(["unmorph", *words])
        if show:
            typer.echo(line)
            continue
        typer.echo(f"[{number}/{len(chosen)}] {line}")
        code = root.main(words, prog_name="unmorph", standalone_mode=False)
        if code == STOPPED:
            raise typer.Exit(code)
        failed += bool(code)
    for name, count in missing.items():
        typer.echo(f"left out for want of --data {name}=PATH: {count} of {len(steps)}", err=True)
    if failed:
        typer.echo(f"{failed} of {len(chosen)} commands failed; their messages are above", err=True)
        raise typer.Exit(1)


def _words(root: Any, step: Step, folders: dict[str, Path], *, again: bool) -> list[str]:
    """Return a step's words with the options that the plan leaves to us.

    Raises:
        ConfigError: there is no such command, or it has no such option.
    """
    from unmorph.errors import ConfigError

    found = root
    for name in step.run.split():
        found = getattr(found, "commands", {}).get(name)
        if found is None:
            raise ConfigError(f"run = {step.run!r}: there is no such command")
    known = {name.lstrip("-") for option in found.params for name in option.opts}
    if unknown := sorted(set(step.options) - known - step.varied):
        raise ConfigError(f"{step.run} has no option {', '.join(unknown)}")
    words = step.words(known)
    if step.dataset and "data" in known:
        words += ["--data", str(folders.get(step.dataset, "?"))]
    if step.dataset and "dataset" in known:
        words += ["--dataset", step.dataset]
    if "skip-current" in known and not again:
        words.append("--skip-current")
    if "resume" in known:
        from unmorph.training.loop import CHECKPOINT

        if any(Path(folder, CHECKPOINT).exists() for folder in step.options.get("out", ())):
            words.append("--resume")
    return words

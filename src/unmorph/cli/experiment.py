"""``unmorph experiment``: carry out a plan, all the commands of an experiment."""

from __future__ import annotations

import re
import shlex
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import STOPPED

if TYPE_CHECKING:
    from unmorph.evaluation.plan import Step

#: What is raised for a wrong option: typer names only this one of its kind.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


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
    training, evaluation or search goes on where it was when the plan is carried out again; other
    commands start over. A command that fails is reported and the others are still done, but for
    those that take what it was to make.
    """
    require_torch()
    from unmorph.cli._pairs import parse_pairs
    from unmorph.datasets.named import NAMES
    from unmorph.errors import ConfigError
    from unmorph.evaluation.plan import read_plan

    folders = {name: Path(path) for name, path in parse_pairs(data).items()}
    if unknown := sorted(set(folders) - set(NAMES)):
        raise ConfigError(f"--data {unknown[0]}: no set of faces; choose from {', '.join(NAMES)}")
    steps = read_plan(plan, {"results": results, "work": work, "plan": plan.parent})
    root: Any = context.find_root().command
    chosen: list[tuple[Step, list[str]]] = []
    missing: Counter[str] = Counter()
    unmade: dict[str, str] = {}  # what a step left out was to make, and the set that it wants
    for step in steps:
        try:
            words, dataset = _words(root, step, folders, again=again)
        except ConfigError as error:
            raise ConfigError(f"{plan}: step {step.number}: {error}") from error
        if only not in shlex.join(words):
            continue
        wanted = dataset if dataset and dataset not in folders else _taken(words, unmade)
        if wanted:
            missing[wanted] += 1
            unmade |= dict.fromkeys(step.outputs, wanted)
        else:
            chosen.append((step, words))
    if not chosen:
        raise ConfigError(
            f"nothing to do: no step's command holds {only!r}"
            if not missing
            else "nothing to do: give the sets that the steps are on, as in --data "
            + " --data ".join(f"{name}=PATH" for name in missing)
        )
    failed = 0
    lost: dict[str, str] = {}  # what failed commands were to make, and their numbers
    for number, (step, words) in enumerate(chosen, 1):
        line = shlex.join(["unmorph", *words])
        if show:
            typer.echo(line)
            continue
        typer.echo(f"[{number}/{len(chosen)}] {line}")
        if earlier := _taken(words, lost):
            typer.echo(f"left out: it takes what command {earlier} was to make", err=True)
            code = 1
        else:
            code = _run(root, words)
        if code == STOPPED:
            raise typer.Exit(code)
        if code:
            failed += 1
            lost |= dict.fromkeys(step.outputs, str(number))
    for name, count in missing.items():
        typer.echo(f"left out for want of --data {name}=PATH: {count} of {len(steps)}", err=True)
    if failed:
        typer.echo(f"{failed} of {len(chosen)} commands failed; their messages are above", err=True)
        raise typer.Exit(1)


def _run(root: Any, words: list[str]) -> int:
    """Run a command and return its exit code; what is wrong with it is printed."""
    try:
        return int(root.main(words, prog_name="unmorph", standalone_mode=False) or 0)
    except _UsageError as error:
        shown: Any = error
        shown.show()
    except Exception:  # memory ran out, a defect: the other commands are still to be done
        typer.echo(traceback.format_exc(), err=True)
    return 1


def _taken(words: list[str], made: dict[str, str]) -> str:
    """Return what stands beside the first path of ``made`` that a command takes, else nothing."""

    def is_taken(path: str) -> bool:
        # Whole words, and values as in NAME=PATH, pgd:weights=PATH,steps=1 and weights=PATH;PATH.
        value = re.compile(rf"(^|[=,;]){re.escape(path)}($|[/,;])")
        return any(map(value.search, words))

    return next((about for path, about in made.items() if is_taken(path)), "")


def _listed(found: Any, step: Step) -> str | None:
    """Return the plan's list of the photos that count in the set, or partition, of a step."""
    by_default = next(
        (str(option.default) for option in found.params if option.name == "split"), ""
    )
    partition = (step.options.get("split") or (by_default,))[0]
    return step.sets.get(f"{step.dataset}-{partition}", step.sets.get(step.dataset))


def _words(
    root: Any, step: Step, folders: dict[str, Path], *, again: bool
) -> tuple[list[str], str]:
    """Return a step's words with the options that the plan leaves to us, and the set it needs.

    Raises:
        ConfigError: there is no such command, it is a group of them, or it has no such option.
    """
    from unmorph.errors import ConfigError

    found = root
    for name in step.run.split():
        commands = getattr(found, "commands", {})
        if name not in commands:
            choices = ", ".join(sorted(commands)) or "none below it"
            raise ConfigError(f"run = {step.run!r}: no command {name!r}; choose one of {choices}")
        found = commands[name]
    if group := getattr(found, "commands", {}):
        choices = ", ".join(f"{step.run} {name}" for name in sorted(group))
        raise ConfigError(f"run = {step.run!r}: is a group of commands; choose one of {choices}")
    known = {
        name.removeprefix("--")
        for option in found.params
        for name in option.opts
        if name.startswith("--")
    }
    if unknown := sorted(set(step.options) - known - step.varied):
        raise ConfigError(
            f"{step.run} has no option {', '.join(unknown)}; choose from {', '.join(sorted(known))}"
        )
    dataset = step.dataset if "data" in known else ""
    listed = _listed(found, step) if dataset and "subset" in known else None
    # Before the step's own subset, which is a part of it.
    words = step.words(known, first=["--subset", listed] if listed else [])
    if dataset:
        words += ["--data", str(folders.get(dataset, "?"))]
    if dataset and "dataset" in known:
        words += ["--dataset", dataset]
    if "skip-current" in known and not again:
        words.append("--skip-current")
    if "resume" in known:
        from unmorph.training.loop import CHECKPOINT

        if any(Path(folder, CHECKPOINT).exists() for folder in step.outputs):
            words.append("--resume")
    return words, dataset

"""``unmorph check``: the proof that a photo is protected.

Exit codes: 0 protected; 1 could not check; 2 wrong usage; 3 not protected, or only weakly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unmorph.cli._options import OVERWRITE, refuse_picture
from unmorph.errors import ConfigError, PhotoError, WeightsError

if TYPE_CHECKING:
    from unmorph.channels.codecs import Channel
    from unmorph.checking import Checker, Edit, FaceCheck, Pixels, Verdict

NOT_PROTECTED = 3

#: What they ask for where a file's pixels, whole levels, are to be taken as they are.
_ASKED = {"round": "none"}

#: What people call the channels that are tried by default.
_WAYS = {"round": "as it is", "jpeg-75": "JPEG 75", "messenger": "messenger"}


def command(
    photo: Path = typer.Argument(..., metavar="PHOTO", help="The original; or a photo by itself."),
    protected: Path | None = typer.Argument(
        None, metavar="PROTECTED", help="Its protected copy, of the same or of another size."
    ),
    channel: list[str] | None = typer.Option(
        None,
        "--channel",
        help="What happens to the photo before it is edited, as none, jpeg-75, "
        "resize-50, blur-1, messenger or messenger>jpeg-50; can be repeated. By default none, "
        "jpeg-75 and messenger.",
    ),
    save: Path | None = typer.Option(
        None,
        "--save",
        help="Draw original, protected, perturbation, and the edits before and after: a picture "
        "of the largest face. Needs PROTECTED.",
    ),
    overwrite: bool = OVERWRITE,
    as_json: bool = typer.Option(False, "--json", help="Print one line of JSON instead."),
    max_megapixels: float = typer.Option(100.0, min=0, help="Refuse larger photos."),
    threads: int | None = typer.Option(None, min=1, help="Cores to use; by default all."),
) -> None:
    """Try deepfakes on a photo and say whether it is protected.

    With PROTECTED, the edits of both photos are compared: an edit is stopped where it loses at
    least three quarters of its effect. With PHOTO alone, an edit is stopped where it hardly
    changes the photo; that is weaker evidence, as some edits do little by themselves.

    A photo is protected where at least four edits in five are stopped on every face, as it is
    and after each channel. Faces that the edits hardly change cannot be judged, and are told.

    Exits with 0 when it is protected, 3 when it is not or only weakly, 1 when it could not be
    checked, and 2 after wrong usage.

    Examples:

        unmorph check portrait.jpg portrait-protected.png

        unmorph check portrait.jpg downloaded.jpg --save proof.png

        unmorph check portrait-protected.png --channel jpeg-50 --json
    """
    if save is not None:
        if protected is None:
            raise typer.BadParameter("--save compares two photos: give PROTECTED too")
        refuse_picture("--save", save, (photo, protected), overwrite=overwrite)
    from PIL import Image

    from unmorph import channels
    from unmorph.checking import CHANNELS, Checker, Verdict, worst
    from unmorph.photo import read

    Image.MAX_IMAGE_PIXELS = None  # --max-megapixels decides
    ways = {}
    for name in channel or CHANNELS:
        known = "round" if name == "none" else name  # a file's pixels are whole levels
        ways[known] = channels.load(known)
        if ways[known].moves:
            raise ConfigError(
                f"channel {name!r} moves faces away from where they are looked for; choose from "
                f"none, {', '.join(channels.still_names())}"
            )
    names = str(photo) if protected is None else f"{photo} and {protected}"
    checker = Checker.load(threads=threads)

    def say(verdict: Verdict | None, checks: Sequence[FaceCheck], error: str | None) -> None:
        record = {
            "photo": str(photo),
            "protected": None if protected is None else str(protected),
            "verdict": None if verdict is None else verdict.value,
            "faces": [_record(check) for check in checks],
            "error": error,
        }
        typer.echo(json.dumps(record))

    try:
        original = read(photo, max_megapixels=max_megapixels).pixels
        copy = None if protected is None else read(protected, max_megapixels=max_megapixels).pixels
        checks = _checked(checker, original, copy, ways, names)
    except (PhotoError, WeightsError) as error:
        if as_json:
            say(None, [], str(error))
        raise
    verdict = worst(checks)
    unknown = f"{names}: cannot be judged, the deepfakes hardly change these faces"
    if as_json:
        say(verdict, checks, unknown if verdict is None else None)
    else:
        for line in _report(checks):
            typer.echo(line)
    if verdict is not None and not as_json:
        unjudged = sum(check.verdict is None for check in checks)
        but = f" (but for {unjudged} of {len(checks)} faces, not judged)" if unjudged else ""
        typer.echo(f"{photo if protected is None else protected}: {_SAID[verdict.name]}{but}")
        if protected is None and verdict is not Verdict.UNPROTECTED:
            typer.echo("(or the edits do little to this face anyway: only the original can tell)")
    if save is not None and copy is not None:
        _draw(save, checker, checks[0], original, copy)
        if not as_json:
            typer.echo(f"See {save}")
    if verdict is None:
        raise PhotoError(unknown)
    if verdict is not Verdict.PROTECTED:
        raise typer.Exit(NOT_PROTECTED)


_SAID = {
    "PROTECTED": "PROTECTED",
    "WEAK": "only WEAKLY PROTECTED: some edits come through, or come through on some ways",
    "UNPROTECTED": "NOT PROTECTED: the edits come through",
}


def _checked(
    checker: Checker, original: Pixels, copy: Pixels | None, ways: dict[str, Channel], names: str
) -> list[FaceCheck]:
    """Check photos; errors call them by their names."""
    try:
        return checker.check(original, copy, ways)
    except PhotoError as error:
        raise PhotoError(f"{names}: {error}") from error


def _draw(save: Path, checker: Any, check: FaceCheck, original: Any, copy: Any) -> None:
    import numpy as np

    from unmorph.photo import Photo, write
    from unmorph.showcase import compare

    deepfake = checker.deepfakes[check.deepfake]
    shown = compare(original, copy, check.square, deepfake, checker.classifier)
    write(Photo(np.asarray(shown.picture)), save)


def _report(checks: Sequence[FaceCheck]) -> list[str]:
    """Return what to say of each face."""
    from unmorph.checking import MOVED

    lines = []
    for check in checks:
        square = check.square
        place = f"face of {square.size} pixels at {square.left}, {square.top}"
        lines.append(f"{check.deepfake}, {place}: {_summary(check)}")
        ways = [_WAYS.get(name, name) for name in check.channels]
        lines.append(f"  {'edit':12}" + "".join(f"{way:>30}" for way in ways))
        for row in zip(*check.channels.values(), strict=True):
            lines.append(f"  {row[0].name:12}" + "".join(f"{_figures(edit):>30}" for edit in row))
        lines.append(
            f"  (asked for what the face shows already, {check.deepfake} moves it by "
            f"{check.error:.4f})"
        )
    edits = [edit for check in checks for way in check.channels.values() for edit in way]
    if not all(edit.counted for edit in edits):
        alone = edits[0].before is None
        reason = "ask for nothing new" if alone else f"move the original by less than {MOVED}"
        lines.append(f"Edits that {reason} are not counted.")
    return lines


def _summary(check: FaceCheck) -> str:
    if check.verdict is None:
        return "cannot be judged, the edits hardly change it"
    parts: list[str] = []
    for name, edits in check.channels.items():
        counted = [edit for edit in edits if edit.counted]
        what = f"{sum(edit.stopped for edit in counted)} of {len(counted)}"
        what += " edits stopped" if not parts else ""
        parts.append(what if name == "round" else f"after {_WAYS.get(name, name)}: {what}")
    return "; ".join(parts)


def _figures(edit: Edit) -> str:
    """Return how far an edit moves the face, and what the protection took of it."""
    if edit.suppression is None or edit.before is None:
        said = "not counted" if not edit.counted else "stopped" if edit.stopped else ""
        return f"{edit.after:.4f} {said}".rstrip()
    share = f"{edit.suppression:4.0%}{' stopped' * edit.stopped}" if edit.counted else "not counted"
    return f"{edit.before:.4f} > {edit.after:.4f} {share}"


def _record(check: FaceCheck) -> dict[str, Any]:
    return {
        "deepfake": check.deepfake,
        "square": [check.square.left, check.square.top, check.square.size],
        "verdict": None if check.verdict is None else check.verdict.value,
        "own_error": check.error,
        "channels": {
            _ASKED.get(name, name): [
                {
                    "edit": edit.name,
                    "before": edit.before,
                    "after": edit.after,
                    "suppression": edit.suppression,
                    "counted": edit.counted,
                    "stopped": edit.stopped,
                }
                for edit in edits
            ]
            for name, edits in check.channels.items()
        },
    }

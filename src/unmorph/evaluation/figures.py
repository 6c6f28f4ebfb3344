"""The paper's figures 3 and 4, and what gets through, drawn with nothing but Pillow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmorph import metrics
from unmorph.channels.batches import own_seeds, send
from unmorph.channels.codecs import Channel
from unmorph.errors import ConfigError
from unmorph.evaluation.run import Deepfake
from unmorph.levels import to_photos

#: How strongly pictures exaggerate a difference of pixels.
AMPLIFIED = 10

#: Faces that the deepfake gets at once.
_BATCH = 16

_CELL = 144
_GAP = 6
_LINE = 20

Protect = Callable[[Tensor, Tensor], Tensor]
Pixels = NDArray[np.uint8]


@torch.no_grad()
def draw_edits(deepfake: Deepfake, protect: Protect, faces: Tensor, labels: Tensor) -> Image.Image:
    """Draw figure 3: each face and its edits in one row, the same protected in the next.

    Args:
        faces: (N, 3, H, W) in [-1,1].
        labels: the present labels, (N, 5) of 0 and 1.
    """
    rows, titles = [], []
    protected = protect(faces, labels)
    pairs = {"no defense": faces, "protected": protected}
    for index in range(len(faces)):
        for title, batch in pairs.items():
            face, label = batch[index : index + 1], labels[index : index + 1]
            edited = [deepfake.edit(face, deepfake.targets(e, label)) for e in deepfake.edits]
            rows.append([_pixels(picture[0]) for picture in (face, *edited)])
            titles.append(title)
    names = ["input", *(edit.replace("_", " ").lower() for edit in deepfake.edits)]
    return _sheet(rows, names, titles)


@torch.no_grad()
def draw_differences(
    deepfake: Deepfake,
    defenses: Mapping[str, Protect],
    faces: Tensor,
    labels: Tensor,
    edit: str,
) -> Image.Image:
    """Draw figure 4: x_adv, G(x_adv) and their difference, in pixels and in LBP codes.

    Each face has a row for each defense, with the L2 and the share of codes that differ.

    Args:
        defenses: by the name that its rows get.
        faces: (N, 3, H, W) in [-1,1].
        labels: the present labels, (N, 5) of 0 and 1.
        edit: which edit G makes.

    Raises:
        ConfigError: the edit is unknown; the message lists the choices.
    """
    rows: list[list[Pixels]] = []
    titles = []
    targets = deepfake.targets(edit, labels)  # an unknown edit is told before the long work
    shielded = {name: protect(faces, labels) for name, protect in defenses.items()}
    edited = {name: deepfake.edit(batch, targets) for name, batch in shielded.items()}
    for index in range(len(faces)):
        for name in defenses:
            before, after = shielded[name][index], edited[name][index]
            difference = AMPLIFIED * (after - before).abs() - 1
            maps = metrics.lbp_maps(torch.stack([before, after]))
            codes = maps.numpy()
            changed = np.abs(codes[0].astype(int) - codes[1]).astype(np.uint8)
            cells = [_pixels(before), _pixels(after), _pixels(difference)]
            rows.append([*cells, *(_grey(plane) for plane in (*codes, changed))])
            l2 = float(metrics.l2(before[None], after[None]))
            share = float(metrics.lbp_difference(maps[:1], maps[1:]))
            titles.append(f"{name}\nL2 {l2:.4f}\nLBP changed\n{100 * share:.0f} %")
    names = ["x_adv", "G(x_adv)", f"difference x {AMPLIFIED}"]
    return _sheet(rows, [*names, "LBP x_adv", "LBP G(x_adv)", "LBP difference"], titles)


@torch.no_grad()
def draw_failures(
    deepfake: Deepfake,
    protect: Protect,
    faces: Tensor,
    labels: Tensor,
    channels: Mapping[str, Channel | None],
    count: int,
    seed: int = 0,
) -> Image.Image:
    """Draw what gets through: after each channel, the edits that the defense stops least.

    A row shows x, G(x), x_adv and G(x_adv), all after the channel, and names the face, the edit and
    s, least first. What counts is what the evaluation counts (`metrics.moved`).

    Args:
        faces: (N, 3, H, W) in [-1,1].
        labels: the present labels, (N, 5) of 0 and 1.
        channels: by the name that their rows get; None leaves faces as they are.
        count: rows of each channel, at most; fewer where fewer pairs count.
        seed: of noise and jitter, each face's own, as in the evaluation.

    Raises:
        ConfigError: no pair counts.
    """
    rows: list[list[Pixels]] = []
    titles = []
    protected = protect(faces, labels)
    seeds = own_seeds(seed, range(len(faces)))
    for name, channel in channels.items():
        pair = faces, protected
        if channel is not None:
            pair = send(channel, faces, seeds), send(channel, protected, seeds)
        edited = [[_edited(deepfake, face, e, labels) for e in deepfake.edits] for face in pair]
        moves = [
            torch.stack([metrics.l2(face, after) for after in edits])
            for face, edits in zip(pair, edited, strict=True)
        ]
        counted = metrics.moved(moves[0])
        stopped = torch.where(counted, metrics.suppression(*moves), torch.inf)
        for place in stopped.flatten().argsort()[: min(count, int(counted.sum()))].tolist():
            edit, face = divmod(place, len(faces))
            shown = [
                picture[face]
                for batch, edits in zip(pair, edited, strict=True)
                for picture in (batch, edits[edit])
            ]
            rows.append([_pixels(picture) for picture in shown])
            titles.append(
                f"{name}: {deepfake.edits[edit]}, face {face}, s {stopped[edit, face]:.2f}"
            )
    if not rows:
        raise ConfigError("no edit moves these faces far enough to count; choose others")
    return _sheet(rows, ["x", "G(x)", "x_adv", "G(x_adv)"], titles)


def _edited(deepfake: Deepfake, faces: Tensor, edit: str, labels: Tensor) -> Tensor:
    """Return all faces after one edit, which the deepfake gets a few at a time."""
    targets = deepfake.targets(edit, labels)
    pairs = zip(faces.split(_BATCH), targets.split(_BATCH), strict=True)
    return torch.cat([deepfake.edit(some, wanted) for some, wanted in pairs])


def _pixels(face: Tensor) -> Pixels:
    return to_photos(face.cpu().numpy())


def _grey(plane: NDArray[Any]) -> Pixels:
    return np.repeat(plane[:, :, None], 3, axis=2)


def _sheet(
    rows: Sequence[Sequence[Pixels]], columns: Sequence[str], titles: Sequence[str]
) -> Image.Image:
    """Lay pictures out in a grid with a title above each column and left of each row."""
    font = ImageFont.load_default(13)
    lines = "\n".join(titles).split("\n")
    side = _GAP * 2 + max(round(font.getlength(line)) for line in lines)
    step = _CELL + _GAP
    size = (side + len(columns) * step, _LINE + len(rows) * step)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(columns):
        draw.text((side + column * step + _CELL / 2, _LINE / 2), title, "black", font, anchor="mm")
    for number, (row, title) in enumerate(zip(rows, titles, strict=True)):
        top = _LINE + number * step
        draw.text((_GAP, top + _CELL / 2), title, "black", font, anchor="lm")
        for column, pixels in enumerate(row):
            cell = Image.fromarray(pixels).resize((_CELL, _CELL), Image.Resampling.NEAREST)
            picture.paste(cell, (side + column * step, top))
    return picture

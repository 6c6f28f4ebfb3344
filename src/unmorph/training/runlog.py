"""What a training run shows: a progress bar, TensorBoard scalars and pictures, a line a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Collects the figures of a run and shows them.

    Args:
        folder: takes TensorBoard's event files, ``reports.jsonl`` and the pictures.
        console: where the bar and the lines go; standard error if not given.
    """

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self.folder = folder
        self.console = console or Console(stderr=True)
        self._writer = SummaryWriter(str(folder))
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    @contextmanager
    def progress(self, title: str, done: int, total: int) -> Iterator[Progress]:
        """Show a bar from ``done`` to ``total``; the yielded object's first task advances it."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as bar:
            bar.add_task(title, total=total, completed=done)
            yield bar

    def add(self, figures: Mapping[str, Tensor | float]) -> None:
        """Take the figures of one step; `report` gives their mean."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the means since the last report and the given figures, and print one line.

        They also go into ``reports.jsonl``, a JSON object a report.
        """
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        for name, value in {**means, **figures}.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        with (self.folder / "reports.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, **means, **figures}) + "\n")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in {**means, **figures}.items())
        self.console.print(f"step {step}  {shown}", highlight=False, soft_wrap=True)

    def picture(self, name: str, step: int, sheet: np.ndarray) -> None:
        """Keep an (H, W, 3) uint8 picture in TensorBoard and, the latest, as ``name``.png."""
        self._writer.add_image(name, sheet, step, dataformats="HWC")
        Image.fromarray(sheet).save(self.folder / f"{name}.png")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


def contact_sheet(rows: list[list[Tensor]]) -> np.ndarray:
    """Join faces (3, H, W) in [-1,1] into one (H * rows, W * columns, 3) uint8 picture."""
    sheet = torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)
    return ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

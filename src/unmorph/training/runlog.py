"""What a training run shows: a progress bar, TensorBoard scalars and pictures, a line a report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from unmorph.levels import to_photos

#: The file of a run's reports, a JSON object a line.
REPORTS = "reports.jsonl"


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
        self._reports = folder / REPORTS
        self._reports.touch()
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self._reported: dict[str, float] = {}

    @contextmanager
    def progress(self, title: str, done: int, total: int) -> Iterator[Progress]:
        """Show a bar from ``done`` to ``total``; the yielded object's first task advances it.

        Its field ``figures`` takes what `live` returns.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        with Progress(*columns, console=self.console) as bar:
            bar.add_task(title, total=total, completed=done, figures="")
            yield bar

    def add(self, figures: Mapping[str, Tensor | float]) -> None:
        """Take the figures of one step; `report` gives their mean."""
        for name, value in figures.items():
            # Added where they are: to read one would have a GPU wait.
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold so that `restore` goes on with these reports."""
        return {
            "sums": {name: float(total) for name, total in self._sums.items()},
            "counts": dict(self._counts),
            "written": self._reports.stat().st_size,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written: reports made since are made again.

        Args:
            state: as `state` returned it; empty where there is none.
        """
        self._sums, self._counts = dict(state.get("sums", {})), dict(state.get("counts", {}))
        if "written" in state:
            os.truncate(self._reports, state["written"])

    def live(self) -> str:
        """Return the means since the last report, and that report's figures on val, as a line."""
        return _line({**self._means(), **self._reported})

    def _means(self) -> dict[str, float]:
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the means since the last report and the given figures, and print one line.

        They also go into ``reports.jsonl``, a JSON object a report.
        """
        means = self._means()
        self._sums, self._counts = {}, {}
        self._reported = {name: value for name, value in figures.items() if name != "minutes"}
        for name, value in {**means, **figures}.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        with self._reports.open("a") as file:
            numbers = {**means, **figures}.items()
            # JSON has no NaN, which a share of no pairs is.
            known = {name: value if math.isfinite(value) else None for name, value in numbers}
            file.write(json.dumps({"step": step, **known}) + "\n")
        shown = _line({**means, **figures})
        self.console.print(f"step {step}  {shown}", highlight=False, soft_wrap=True)

    def picture(self, name: str, step: int, sheet: np.ndarray) -> None:
        """Keep an (H, W, 3) uint8 picture in TensorBoard and, the latest, as ``name``.png."""
        self._writer.add_image(name, sheet, step, dataformats="HWC")
        Image.fromarray(sheet).save(self.folder / f"{name}.png")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


def _line(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


def contact_sheet(rows: list[list[Tensor]]) -> np.ndarray:
    """Join faces (3, H, W) in [-1,1] into one (H * rows, W * columns, 3) uint8 picture.

    Rows shorter than the longest end in grey.
    """
    columns = max(len(row) for row in rows)
    filled = [[*row, *[torch.zeros_like(row[0])] * (columns - len(row))] for row in rows]
    sheet = torch.cat([torch.cat(row, dim=2) for row in filled], dim=1)
    return to_photos(sheet.cpu().numpy())

"""What a record says about the machine and the code that made it."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

#: Packages whose version can change a figure.
_PACKAGES = ("unmorph", "torch", "onnxruntime", "numpy", "pillow", "torchmetrics", "scikit-image")


def circumstances(device: str, compiled: bool = False) -> dict[str, Any]:
    """Return what every record says of its making, to be asked for when a run begins.

    Args:
        device: where torch runs.
        compiled: whether torch compiles the deepfake.

    Returns:
        ``machine``, ``versions`` and ``commit``; the working tree may change while a run lasts.
    """
    about = {**machine(device), **({"compiled": True} if compiled else {})}
    return {"machine": about, "versions": versions(), "commit": commit()}


def now() -> str:
    """Return the present time, ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the version of Python and of every package that computes figures."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def machine(device: str) -> dict[str, Any]:
    """Return device, threads, processor and operating system."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "device": device,
        "name": name,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def _processor() -> str:
    """Return the processor's model where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def commit() -> str | None:
    """Return the commit of the working tree that this code runs from.

    It ends in ``-dirty`` where the package was changed since; None for an installed package, or
    without git.
    """
    package = Path(__file__).parents[1]

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=package, capture_output=True, text=True, check=False
        )

    try:
        if git("ls-files", "--error-unmatch", "__init__.py").returncode != 0:
            return None
        head = git("rev-parse", "HEAD").stdout.strip()
        changed = git("status", "--porcelain", "--", ".").stdout.strip()
    except FileNotFoundError:
        return None
    return f"{head}-dirty" if changed else head

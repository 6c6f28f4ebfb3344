"""The committed records that README and guide quote are of the networks that are shipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unmorph.runtime import SHIPPED
from unmorph.weights.store import sha256

RESULTS = Path(__file__).parents[2] / "results"

#: Other folders hold what was measured of earlier networks, too, and say so.
FOLDERS = (
    "paper",
    "paper-200",
    "framed",
    "channels",
    "crops",
    "photos",
    "deepfakes",
)

QUOTED = (
    *(RESULTS / f"{name}.json" for name in ("celeba-test", "lfw", "ffhq", "formats")),
    *(path for folder in FOLDERS for path in sorted((RESULTS / folder).rglob("*.json"))),
)


def networks(content: Any) -> Iterator[tuple[str, str]]:
    """Yield every file and its hash that a record names, however deep."""
    if isinstance(content, list):
        for entry in content:
            yield from networks(entry)
    elif isinstance(content, dict):
        if isinstance(content.get("file"), str) and "sha256" in content:
            yield content["file"], content["sha256"]
        if isinstance(content.get("networks"), dict):
            yield from content["networks"].items()
        for entry in content.values():
            yield from networks(entry)


def test_quoted_records_are_of_the_shipped_networks() -> None:
    shipped = {path.name: sha256(path) for path in SHIPPED.glob("*.onnx")}
    for path in QUOTED:
        named = list(networks(json.loads(path.read_text("utf-8"))))
        assert named, f"{path}: names no network"
        stale = {file for file, digest in named if shipped.get(file, digest) != digest}
        assert not stale, f"{path}: measured with another {stale}; measure again"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_report_leaves_out_no_quoted_record() -> None:
    command = ["make", "--dry-run", "--old-file", ".venv/dev", "report"]
    made = subprocess.run(
        command, cwd=RESULTS.parent, capture_output=True, text=True, check=True
    ).stdout.split()
    for path in QUOTED:
        # What formats cost is a table of its own kind, which the README has.
        if path.name != "formats.json":
            assert path.relative_to(RESULTS.parent).as_posix() in made

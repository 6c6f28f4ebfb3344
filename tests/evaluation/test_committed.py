"""The committed records that README and guide quote are of the networks that are shipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unmorph.runtime import SHIPPED
from unmorph.weights.store import sha256

RESULTS = Path(__file__).parents[2] / "results"

#: Other folders hold what was measured of earlier networks, too, and say so.
QUOTED = (
    *(RESULTS / f"{name}.json" for name in ("celeba-test", "lfw", "ffhq", "formats")),
    *(
        path
        for folder in ("paper", "paper-200", "framed", "channels", "crops", "photos", "deepfakes")
        for path in sorted((RESULTS / folder).glob("*.json"))
    ),
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

"""Options of the form ``key=value`` that may be given several times."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unmorph.errors import ConfigError


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Read ``key=value`` pairs.

    Raises:
        ConfigError: one is not of that form, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigError(f"expected key=value, got {text!r}")
        if key in pairs:
            raise ConfigError(f"{key} is given twice")
        pairs[key] = value
    return pairs


def parse_defense(text: str) -> tuple[str, dict[str, str]]:
    """Read ``name`` or ``name:key=value,key=value``; the path of an ONNX file stands for itself.

    A piece without ``=`` belongs to the value before it, as in ``pgd:channels=round,jpeg-75``.

    Raises:
        ConfigError: an option is not of that form.
    """
    if text.endswith(".onnx"):
        return text, {}
    name, _, options = text.partition(":")
    pieces = re.split(r",(?=[^,]*=)", options) if options else []
    return name, parse_pairs(pieces)

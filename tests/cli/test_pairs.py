from __future__ import annotations

import pytest

from unmorph.cli._pairs import parse_defense, parse_pairs
from unmorph.errors import ConfigError


def test_pairs() -> None:
    assert parse_pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["steps"], "got 'steps'"), (["=3"], "got '=3'"), (["a=1", "a=2"], "a is given twice")],
)
def test_other_texts_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_pairs(texts)


def test_defenses_with_options() -> None:
    assert parse_defense("pgd") == ("pgd", {})
    assert parse_defense("pgd:steps=10,mode=invalid") == ("pgd", {"steps": "10", "mode": "invalid"})
    channels = {"channels": "round,jpeg-75", "steps": "10"}
    assert parse_defense("pgd-l2:channels=round,jpeg-75,steps=10") == ("pgd-l2", channels)
    assert parse_defense("c:/nets/a=b.onnx") == ("c:/nets/a=b.onnx", {})

from __future__ import annotations

import pytest

from unmorph.errors import ConfigError
from unmorph.registry import Registry


def test_names_are_taken_once_and_unknown_ones_list_the_choices() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("two")(2)
    registry.register("one")(1)
    assert registry.names() == ("one", "two")
    assert registry["two"] == 2
    with pytest.raises(ConfigError, match="a number named 'two' is registered already"):
        registry.register("two")(22)
    assert registry["two"] == 2
    with pytest.raises(ConfigError, match="unknown number 'six'; choose one of one, two"):
        registry["six"]

from __future__ import annotations

import pytest

from unmorph import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("PhotoError", 1),
        ("WeightsError", 1),
        ("DataError", 1),
        ("ConfigError", 2),
        ("MissingExtraError", 2),
    ],
)
def test_each_is_ours_and_has_its_exit_code(name: str, code: int) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.UnmorphError)
    assert error.exit_code == code

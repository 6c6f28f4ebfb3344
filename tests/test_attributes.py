from __future__ import annotations

import numpy as np
import pytest
import torch

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.errors import ConfigError

#: A black-haired young man, and somebody old, bald and female.
LABELS = [[1, 0, 0, 1, 1], [0, 0, 0, 0, 0]]

EXPECTED = {
    "Black_Hair": [[1, 0, 0, 1, 1], [1, 0, 0, 0, 0]],
    "Blond_Hair": [[0, 1, 0, 1, 1], [0, 1, 0, 0, 0]],
    "Brown_Hair": [[0, 0, 1, 1, 1], [0, 0, 1, 0, 0]],
    "Male": [[1, 0, 0, 0, 1], [0, 0, 0, 1, 0]],
    "Young": [[1, 0, 0, 1, 0], [0, 0, 0, 0, 1]],
}


def test_the_order_of_the_publishers_networks() -> None:
    assert tuple(EXPECTED) == ATTRIBUTES


@pytest.mark.parametrize("edit", ATTRIBUTES)
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_edits_of_arrays(edit: str, dtype: type) -> None:
    labels: np.ndarray = np.array(LABELS, dtype)
    targets = edit_targets(labels, edit)
    assert targets.tolist() == EXPECTED[edit]
    assert targets.dtype == dtype
    assert labels.tolist() == LABELS


@pytest.mark.parametrize("edit", ATTRIBUTES)
def test_edits_of_tensors(edit: str) -> None:
    labels = torch.tensor(LABELS, dtype=torch.float32)
    targets = edit_targets(labels, edit)
    assert targets.tolist() == EXPECTED[edit]
    assert labels.tolist() == LABELS


def test_unknown_edit_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"'Bald'; choose one of Black_Hair, .*, Young"):
        edit_targets(np.zeros((1, 5)), "Bald")

from __future__ import annotations

import torch

from unmorph.attributes import edit_targets
from unmorph.metrics import edit_success


def test_success_is_the_asked_for_attribute_alone() -> None:
    labels = torch.tensor([[1.0, 0, 0, 1, 1], [1.0, 0, 0, 0, 1]])
    logits = torch.tensor([[2.0, -1, -1, -3, 1], [-2.0, 1, -1, -3, 1]])
    found = {
        edit: edit_success(logits, edit_targets(labels, edit), edit).tolist()
        for edit in ("Blond_Hair", "Male", "Young")
    }
    assert found == {"Blond_Hair": [0, 1], "Male": [1, 0], "Young": [0, 0]}

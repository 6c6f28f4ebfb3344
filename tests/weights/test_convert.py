"""A conversion must give the catalog's bytes from what the publisher serves."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from unmorph.weights import convert, entry, load_tensors

needs_mirror = pytest.mark.skipif(
    "UNMORPH_WEIGHTS_FROM" not in os.environ, reason="UNMORPH_WEIGHTS_FROM unset"
)


def test_lpips_heads_give_the_catalogs_bytes() -> None:
    # torchmetrics carries the LPIPS repository's own file.
    package = Path(pytest.importorskip("torchmetrics").__file__).parent
    path = package / "functional" / "image" / "lpips_models" / "alex.pth"
    found = hashlib.sha256(convert.lpips_heads(path)).hexdigest()
    assert found == entry("lpips-alex").sha256


@needs_mirror
def test_alexnet_features_give_the_catalogs_bytes(tmp_path: Path) -> None:
    state = {**load_tensors("alexnet"), "classifier.1.weight": torch.zeros(2, 2)}
    torch.save(dict(reversed(state.items())), tmp_path / "alexnet.pth")
    found = hashlib.sha256(convert.alexnet_features(tmp_path / "alexnet.pth")).hexdigest()
    assert found == entry("alexnet").sha256


@needs_mirror
def test_vgg16_convolutions_give_the_catalogs_bytes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "vgg16.h5"
    with h5py.File(path, "w") as file:
        for key, tensor in load_tensors("vgg16").items():
            layer, kind = key.split(".")
            array = tensor.numpy()
            if kind == "weight":
                file[f"{layer}/{layer}_W_1:0"] = np.transpose(array, (2, 3, 1, 0))
            else:
                file[f"{layer}/{layer}_b_1:0"] = array
    found = hashlib.sha256(convert.vgg16_convolutions(path)).hexdigest()
    assert found == entry("vgg16").sha256

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unmorph.metrics import LPIPS

needs_weights = pytest.mark.skipif(
    "UNMORPH_WEIGHTS_FROM" not in os.environ, reason="UNMORPH_WEIGHTS_FROM unset"
)
needs_data = pytest.mark.skipif("UNMORPH_DATA" not in os.environ, reason="UNMORPH_DATA unset")


def read(name: str) -> Tensor:
    path = Path(os.environ["UNMORPH_DATA"]) / "lpips" / name
    array = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(array / 127.5 - 1).permute(2, 0, 1)[None]


@needs_weights
@needs_data
def test_authors_example() -> None:
    lpips = LPIPS()
    reference = read("ex_ref.png")
    assert lpips(reference, read("ex_p0.png")).item() == pytest.approx(0.722, abs=5e-4)
    assert lpips(reference, read("ex_p1.png")).item() == pytest.approx(0.138, abs=5e-4)


@pytest.fixture
def network() -> LPIPS:
    generator = torch.Generator().manual_seed(0)
    sizes = {0: (3, 11), 3: (4, 5), 6: (4, 3), 8: (4, 3), 10: (4, 3)}
    trunk = {}
    for index, (channels, side) in sizes.items():
        trunk[f"features.{index}.weight"] = torch.randn(
            4, channels, side, side, generator=generator
        )
        trunk[f"features.{index}.bias"] = torch.zeros(4)
    heads = {f"lin{level}.model.1.weight": torch.ones(1, 4, 1, 1) for level in range(5)}
    return LPIPS(trunk=trunk, heads=heads)


def test_each_image_is_judged_alone(network: LPIPS) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 3, 3, 64, 64, generator=generator) * 2 - 1
    together = network(first, second)
    alone = [network(first[i : i + 1], second[i : i + 1]).item() for i in range(3)]
    torch.testing.assert_close(together, torch.tensor(alone))
    assert together.min() > 0


def test_equal_images_are_at_zero(network: LPIPS) -> None:
    faces = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert network(faces, faces).tolist() == [0, 0]

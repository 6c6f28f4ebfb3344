from __future__ import annotations

import pytest
import torch
from torch import nn

from unmorph.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
@pytest.mark.parametrize("scale", [1e-4, 1e3])
@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-3), ("bf16", 5e-2)])
def test_singular_values_become_one(
    shape: tuple[int, int], scale: float, precision: str, error: float
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    made = orthogonalised(matrix, precision)
    assert made.shape == matrix.shape
    assert made.dtype == matrix.dtype
    # An orthogonal factor of the matrix: its own directions, their lengths levelled.
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    along = left.T @ made @ right.T
    lengths = along.diagonal()
    assert lengths.max() < 1.3
    assert (lengths > 0.5).float().mean() > 0.9
    torch.testing.assert_close(along, lengths.diag(), atol=error, rtol=0)


def test_steps_have_the_length_asked_for_and_gather_momentum() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 6, 4, bias=False)
    optimizer = Muon(layer.parameters(), lr=0.1, momentum=0.5)
    before = layer.weight.detach().clone()
    gradient = torch.randn_like(before)
    layer.weight.grad = gradient
    optimizer.step()
    moved = (layer.weight.detach() - before).flatten(1)
    torch.testing.assert_close(moved, -0.1 * orthogonalised(gradient.flatten(1)))
    again = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(before)
    expected = layer.weight.grad + 0.5 * (0.5 * gradient + layer.weight.grad)
    optimizer.step()
    moved = (layer.weight.detach() - again).flatten(1)
    torch.testing.assert_close(moved, -0.1 * orthogonalised(expected.flatten(1)))


def test_what_was_not_used_stays() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    Muon([weight], lr=1.0).step()
    assert torch.equal(weight, torch.ones(2, 3))

"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step.

torch's own takes matrices only and always works in bfloat16, which many CPUs lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

#: The quintic's coefficients and how often it is applied, as published.
_QUINTIC, _ROUNDS = (3.4445, -4.7750, 2.0315), 5


def orthogonalised(matrix: Tensor, precision: str = "fp32") -> Tensor:
    """Return the nearest matrix whose singular values are all about 1 (0.7 to 1.2).

    Args:
        matrix: (rows, columns), of any scale.
        precision: ``fp32``, or ``bf16``: as good, and faster where the processor has it.
    """
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    if precision == "bf16":
        x = x.bfloat16()
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    made: Tensor = x.to(matrix.dtype)
    return made if wide is matrix else made.T


class Muon(torch.optim.Optimizer):
    """Steps all directions of a layer by the same length, where Adam favours a few.

    Args:
        parameters: convolutions' weights, (N, ...): the first dimension against all others.
        lr: length of a step: the singular values of each update, times sqrt(rows / columns) where
            there are more rows than columns.
        momentum: how much of itself the momentum keeps (Nesterov's kind).
        precision: of `orthogonalised`.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        precision: str = "fp32",
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients that the parameters hold."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self._step(parameter, group)

    def _step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        if parameter.grad is None:
            return
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
        ahead = parameter.grad + group["momentum"] * momentum
        matrix = ahead.reshape(len(ahead), -1)
        longer = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        update = orthogonalised(matrix, self.precision).reshape(parameter.shape)
        parameter.add_(update, alpha=-group["lr"] * longer)

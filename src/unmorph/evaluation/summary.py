"""From per-image figures to a mean, its standard error and percentiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The percentiles that a summary holds.
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Summary:
    """One figure over many values.

    Attributes:
        mean: the mean of the values; None where there is none.
        standard_error: of the mean, with faces (not pairs) as the independent units; None for fewer
            than two faces.
        percentiles: of the values, by `PERCENTILES`; empty where there is no value.
        count: how many values entered; infinite ones (PSNR of equal images) do not.
    """

    mean: float | None
    standard_error: float | None
    percentiles: dict[str, float]
    count: int


def summarise(values: NDArray[np.floating], counted: NDArray[np.bool_] | None = None) -> Summary:
    """Summarise per-image figures.

    Edits of one face are not independent, so the standard error treats each face as one cluster
    (linearised ratio estimator); for one value a face it is the usual one.

    Args:
        values: (N,) or (N, edits).
        counted: which values enter, of the same shape; all by default.
    """
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    mask = np.isfinite(table)
    if counted is not None:
        mask &= counted.reshape(table.shape)
    count = int(mask.sum())
    if count == 0:
        return Summary(None, None, {}, 0)
    chosen = table[mask]
    mean = float(chosen.mean())
    faces = int(mask.any(axis=1).sum())
    error = None
    if faces > 1:
        clusters = np.where(mask, table - mean, 0).sum(axis=1)
        error = float(np.sqrt(faces / (faces - 1) * np.square(clusters).sum()) / count)
    levels = np.percentile(chosen, PERCENTILES)
    percentiles = {str(p): float(v) for p, v in zip(PERCENTILES, levels, strict=True)}
    return Summary(mean, error, percentiles, count)

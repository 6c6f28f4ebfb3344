from __future__ import annotations

import numpy as np
import pytest

from unmorph.evaluation.summary import summarise


def test_one_value_a_face() -> None:
    values = np.random.default_rng(0).normal(size=50)
    found = summarise(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    assert found.percentiles["50"] == pytest.approx(np.median(values))
    assert found.count == 50


def test_edits_of_one_face_are_one_cluster() -> None:
    # Five equal values a face say no more than one.
    values = np.random.default_rng(0).normal(size=50)
    repeated = summarise(np.repeat(values[:, None], 5, axis=1))
    assert repeated.standard_error == pytest.approx(summarise(values).standard_error)
    assert repeated.count == 250


def test_standard_error_matches_repeated_sampling() -> None:
    generator = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(400):
        values = generator.normal(size=(40, 1)) + generator.normal(size=(40, 5))
        counted = generator.random((40, 5)) < 0.6
        found = summarise(values, counted)
        means.append(found.mean)
        errors.append(found.standard_error)
    assert np.mean(np.array(errors, float)) == pytest.approx(
        np.std(np.array(means, float)), rel=0.1
    )


def test_only_counted_and_finite_values_enter() -> None:
    values = np.array([[1.0, 100.0], [np.inf, 3.0]])
    found = summarise(values, np.array([[True, False], [True, True]]))
    assert (found.mean, found.count) == (2, 2)


def test_no_value_gives_no_mean() -> None:
    found = summarise(np.full(3, np.inf))
    assert (found.mean, found.standard_error, found.percentiles, found.count) == (None, None, {}, 0)

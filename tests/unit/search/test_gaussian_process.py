"""The Gaussian process against what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from sweeper.search.curves.gaussian_process import GaussianProcess, Rows, _Target, first_kernel, fit_kernel

Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(0)


def rows(x: np.ndarray, task: int = 0) -> Rows:
    return Rows(x, np.full(len(x), task, dtype=np.intp))


ALONE = np.ones((1, 1))


def test_the_gradient_is_that_of_the_value(rng: Rng) -> None:
    x, y = rng.random((20, 3)), rng.standard_normal(20)
    pairs = np.tril_indices(20, -1)
    squares = np.stack([(x[pairs[0], j] - x[pairs[1], j]) ** 2 for j in range(3)])
    target = _Target(pairs, squares, rng.uniform(0.5, 0.6, len(pairs[0])), y)
    theta = np.log([0.5, 1.5, 0.8, 1.3, 0.05])
    numeric = approx_fprime(theta, lambda at: target(at)[0], 1e-6)
    np.testing.assert_allclose(target(theta)[1], numeric, atol=1e-3)


def test_a_parameter_without_influence_gets_the_longest_scale(rng: Rng) -> None:
    x = rng.random((60, 3))
    kernel = fit_kernel(first_kernel(np.arange(3), ALONE), rows(x), np.sin(6 * x[:, 1]) * 1.4, steps=30)
    assert kernel.theta[1] < min(kernel.theta[0], kernel.theta[2]) - 1


def test_points_tell_of_each_other_as_far_in_many_dimensions_as_in_few() -> None:
    def told(dimensions: int) -> float:
        kernel = first_kernel(np.arange(dimensions), ALONE)
        ends = rows(np.stack([np.zeros(dimensions), np.ones(dimensions)]))
        return float(kernel.between(ends, ends)[0, 1])

    assert told(20) == pytest.approx(told(1))


def test_it_passes_near_what_was_seen_and_is_unsure_elsewhere(rng: Rng) -> None:
    x = rng.random((30, 1)) * 0.5
    y = np.sin(6 * x[:, 0])
    process = GaussianProcess(
        fit_kernel(first_kernel(np.zeros(1, dtype=np.intp), ALONE), rows(x), y, steps=30), rows(x), y
    )
    mean, deviation = process.mean_and_deviation(rows(np.array([[0.25], [1.0]])))
    assert mean[0] == pytest.approx(np.sin(1.5), abs=0.05)
    assert deviation[1] > 5 * deviation[0]
    np.testing.assert_allclose(process.mean(rows(x)), y, atol=0.1)


def test_draws_agree_with_mean_and_deviation(rng: Rng) -> None:
    x = rng.random((10, 2))
    process = GaussianProcess(first_kernel(np.arange(2), ALONE), rows(x), rng.standard_normal(10))
    at = rows(rng.random((4, 2)))
    mean, deviation = process.mean_and_deviation(at)
    draws = process.draws(at, 20000, rng)
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(draws.std(0), deviation, rtol=0.05)


@pytest.mark.parametrize(("weight", "certainty"), [(0.3, 0.09), (0.9, 0.81)])
def test_another_task_teaches_no_more_than_its_weight(rng: Rng, weight: float, certainty: float) -> None:
    x = rng.random((200, 1))
    likeness = np.array([[1, weight], [weight, 1]])
    process = GaussianProcess(first_kernel(np.zeros(1, dtype=np.intp), likeness), rows(x, task=1), np.full(200, 2.0))
    mean, deviation = process.mean_and_deviation(rows(np.array([[0.5]])))
    assert mean[0] == pytest.approx(2 * weight, abs=0.05)
    assert 1 - deviation[0] ** 2 == pytest.approx(certainty, abs=0.01)

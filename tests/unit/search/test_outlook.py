"""What more trials would gain, told from those that are there."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from sweeper.search.outlook import gain_of_draws


def test_too_few_trials_say_nothing_and_equal_ones_promise_nothing() -> None:
    assert gain_of_draws([0.1 * number for number in range(7)], draws=10) is None
    assert gain_of_draws([math.nan] * 20, draws=10) is None
    assert gain_of_draws([0.5] * 20, draws=10) == 0.0


def test_more_trials_promise_more_and_a_lucky_best_promises_less() -> None:
    values = np.random.default_rng(0).normal(size=40).tolist()
    few, many = gain_of_draws(values, draws=5), gain_of_draws(values, draws=50)
    assert few is not None
    assert many is not None
    assert 0 < few < many
    lucky = gain_of_draws([*values, max(values) + 3], draws=5)
    assert lucky is not None
    assert lucky < few


@pytest.mark.parametrize("tail", ["normal", "exponential"])
def test_the_promise_is_kept_on_average(tail: str) -> None:
    rng = np.random.default_rng(1)
    promised, kept = [], []
    for _ in range(400):
        values = rng.normal(size=70) if tail == "normal" else rng.exponential(size=70)
        before, after = values[:40], values[40:]
        gain = gain_of_draws(before.tolist(), draws=30)
        assert gain is not None
        promised.append(gain)
        kept.append(max(0.0, after.max() - before.max()))
    assert statistics.mean(promised) == pytest.approx(statistics.mean(kept), rel=0.35)

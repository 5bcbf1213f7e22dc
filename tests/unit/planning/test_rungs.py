"""How many trials a stop rule is expected to let through."""

from __future__ import annotations

import random

import pytest

from sweeper.planning.rungs import expected_epochs, expected_rungs
from sweeper.spec.search import AshaSpec, HyperbandSpec, MedianSpec


def test_without_rungs_every_trial_runs_to_its_end() -> None:
    for rule in (None, MedianSpec()):
        rungs = expected_rungs(rule, trials=10, epochs=4)
        assert [(rung.epoch, rung.trials) for rung in rungs] == [(4, 10)]
        assert expected_epochs(rungs) == 40


def test_survivors_of_asha_are_those_of_trials_that_come_in_any_order() -> None:
    rungs = expected_rungs(AshaSpec(grace_epochs=1, reduction=3), trials=27, epochs=9)
    assert [rung.epoch for rung in rungs] == [1, 3, 9]
    rng, passed = random.Random(0), 0
    for _ in range(2000):
        seen: list[float] = []
        for _ in range(27):
            value = rng.random()
            seen.append(value)
            passed += value in sorted(seen)[-max(1, len(seen) // 3) :]
    assert rungs[1].trials == pytest.approx(passed / 2000, rel=0.02)
    assert expected_epochs(rungs) == pytest.approx(27 + 2 * rungs[1].trials + 6 * rungs[2].trials)


def test_all_trials_of_hyperband_reach_the_first_rung_and_later_brackets_lose_none_before_theirs() -> None:
    rungs = expected_rungs(HyperbandSpec(grace_epochs=1, reduction=3), trials=30, epochs=9)
    assert [rung.epoch for rung in rungs] == [1, 3, 9]
    assert rungs[0].trials == pytest.approx(30)
    asha = expected_rungs(AshaSpec(grace_epochs=1, reduction=3), trials=30, epochs=9)
    assert expected_epochs(asha) < expected_epochs(rungs) < 30 * 9

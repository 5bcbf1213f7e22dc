"""What runs over seeds say."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from sweeper.predictions import Predictions
from sweeper.records import HeldOutScore, TrialRecord, TrialState
from sweeper.results import confirmation_of, with_test
from sweeper.seeds import SeedPlan
from tests.unit.answers import metrics, said

PLAN = SeedPlan(trials=(4, 9), points=({}, {}), seeds=(1, 2, 3))
ONE, OTHER = (0.90, 0.92, 0.91), (0.91, 0.93, 0.94)


def record(number: int, top1: float) -> TrialRecord:
    return TrialRecord(number=number, state=TrialState.COMPLETE, params={}, epochs=(metrics(1, top1),))


def records() -> list[TrialRecord]:
    return [
        record(number, top1) for number, top1 in enumerate(one for pair in zip(ONE, OTHER, strict=True) for one in pair)
    ]


def of_run(trial: int, seed: int) -> Predictions:
    """Trial 9 errs on ten images less, whatever the seed."""
    return said(range(seed, seed + (20 if trial == 4 else 10)))


def test_means_and_intervals_are_those_of_student() -> None:
    found = confirmation_of(PLAN, records(), "top1", of_run)
    assert [(one.trial, one.mean) for one in found.candidates] == [(9, pytest.approx(0.92667, abs=1e-5)), (4, 0.91)]
    low, high = stats.t.interval(0.95, 2, loc=0.91, scale=stats.sem(ONE))
    assert found.candidates[1].interval == pytest.approx((low, high))
    assert found.winner == 9


def test_the_runner_up_is_met_in_pairs_of_seeds_and_of_images() -> None:
    duel = confirmation_of(PLAN, records(), "top1", of_run).duel
    assert duel is not None
    assert (duel.winner, duel.runner_up, duel.seeds) == (9, 4, 3)
    assert duel.difference == pytest.approx(0.05 / 3)
    assert duel.p_value == pytest.approx(stats.ttest_rel(OTHER, ONE).pvalue)
    assert duel.image_interval is not None
    assert 0.0 < duel.image_interval[0] < 0.05 < duel.image_interval[1]
    assert not duel.is_clear  # three seeds cannot say so


def test_seeds_and_images_must_agree_before_a_winner_is_clear() -> None:
    clear = [record(number, 0.9 + 0.05 * (number % 2) + number**2 / 1000) for number in range(6)]
    duel = confirmation_of(PLAN, clear, "top1", of_run).duel
    assert duel is not None
    assert duel.is_clear
    duel = confirmation_of(PLAN, clear, "top1", lambda trial, _: said(range(10 + (trial == 4)))).duel
    assert duel is not None
    assert not duel.is_clear


def test_a_single_seed_has_no_interval_and_no_winner_is_named_before_the_end() -> None:
    found = confirmation_of(PLAN, records()[:2], "top1", lambda *_: None)
    assert (found.finished, found.winner) == (False, None)
    assert found.candidates[0].interval is None
    assert found.duel is not None
    assert (found.duel.interval, found.duel.p_value, found.duel.image_interval) == (None, None, None)


def test_seeds_that_agree_by_chance_make_nothing_certain() -> None:
    same = [record(number, 0.9 + 0.05 * (number % 2)) for number in range(6)]
    duel = confirmation_of(PLAN, same, "top1", of_run).duel
    assert duel is not None
    assert duel.difference == pytest.approx(0.05)
    assert (duel.interval, duel.p_value) == (None, None)
    assert not duel.is_clear


def test_the_test_has_an_interval_of_its_own_images() -> None:
    score = HeldOutScore(trial=9, metrics={"top1": 0.9}, images=200, split_fingerprint="s", scored=0.0)
    found = with_test(confirmation_of(PLAN, records(), "top1", of_run), score, said(range(20)))
    assert found.test_interval is not None
    reach = 1.96 * math.sqrt(0.9 * 0.1 / 200)
    assert found.test_interval == pytest.approx((0.9 - reach, 0.9 + reach), abs=0.008)

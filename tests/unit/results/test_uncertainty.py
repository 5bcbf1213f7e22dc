"""Intervals, ties, groups: what the validation images can and cannot tell."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score

from sweeper.errors import InputError
from sweeper.predictions import Predictions
from sweeper.records import TrialRecord
from sweeper.results import Leaderboard, grouped, image_scores, rank, with_intervals
from tests.unit.answers import metrics, said

MakeRecord = Callable[..., TrialRecord]


def board_of(make_record: MakeRecord, trials: dict[int, Predictions | None], objective: str = "top1") -> Leaderboard:
    records = []
    for number, one in trials.items():
        top1 = 0.5 if one is None else float((one.guesses == one.labels).mean())
        records.append(make_record(number, top1))
    return with_intervals(rank(records, objective), trials.__getitem__)


def test_1780_images_at_81_percent_know_it_to_1_8_points(make_record: MakeRecord) -> None:
    (row,) = board_of(make_record, {0: said(range(338), images=1780)}).rows
    assert row.interval is not None
    low, high = row.interval
    exact = 1.96 * math.sqrt(0.81 * 0.19 / 1780)
    assert (0.81 - low, high - 0.81) == pytest.approx((exact, exact), abs=0.0015)
    assert not row.is_level  # with whom?


def test_a_trial_is_level_with_the_best_unless_the_same_images_show_it_worse(make_record: MakeRecord) -> None:
    # One errs on other images than the best and on two more of them, one on three images besides the best's.
    best, nested, other = range(20), range(23), range(20, 44)
    board = board_of(make_record, {0: said(best), 1: said(other), 2: said(nested), 3: said(range(40, 90))})
    assert {row.number for row in board.rows if row.is_level} == {0, 1, 2}
    clear = board_of(make_record, {0: said(best), 2: said(range(32))})
    assert not any(row.is_level for row in clear.rows)


def test_trials_of_other_images_or_epochs_have_no_interval(make_record: MakeRecord) -> None:
    trials = {0: said(range(5)), 1: said(range(9), split="other"), 2: said(range(9), epoch=2), 3: None}
    board = board_of(make_record, trials)
    assert [row.number for row in board.rows if row.interval is not None] == [0]
    assert board.images == 200


def test_without_predictions_the_board_stays_as_it_was(make_record: MakeRecord) -> None:
    board = rank([make_record(0, 0.5)], "top1")
    assert with_intervals(board, lambda _: None) == board


def test_each_metric_of_images_is_the_one_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    one = said(rng.choice(200, 50, replace=False))
    labels, guesses = one.labels, one.guesses

    def value(metric: str) -> float:
        scores = image_scores(metric, one)
        assert scores is not None
        return scores.mean

    assert value("top1") == pytest.approx((labels == guesses).mean())
    assert value("top5") == pytest.approx(1.0)
    assert value("val_loss") == pytest.approx(log_loss(labels, np.exp(one.log_probabilities)), abs=1e-6)
    assert value("balanced_accuracy") == pytest.approx(balanced_accuracy_score(labels, guesses))
    recalls = recall_score(labels, guesses, average=None)
    assert value("recall_head") == pytest.approx(recalls[:2].mean())
    assert image_scores("macro_f1", one) is None


def test_a_class_that_a_resample_lacks_is_left_out_of_its_mean() -> None:
    scores = image_scores("balanced_accuracy", said([0]))
    assert scores is not None
    counts = np.where(scores.labels == 3, 0, 1)
    assert float(scores.weights(counts) @ scores.values) == pytest.approx((1 + 1 + 49 / 50) / 3)


def test_the_board_by_backbone_has_the_best_the_middle_and_the_cost_of_each(make_record: MakeRecord) -> None:
    values = {0: ("a", 0.9), 1: ("b", 0.8), 2: ("a", 0.5), 3: ("a", 0.7), 4: (None, 0.1)}
    records = [
        make_record(number, value).model_copy(update={"params": {"backbone": name} if name else {}})
        for number, (name, value) in values.items()
    ]
    groups = grouped(rank(records, "top1"), "backbone", fixed="c").groups
    assert [(one.value, one.trials, one.best.number, one.median, one.seconds) for one in groups] == [
        ("a", 3, 0, 0.7, 36.0),
        ("b", 1, 1, 0.8, 12.0),
        ("c", 1, 4, 0.1, 12.0),
    ]
    assert groups[0].quartiles == pytest.approx((0.6, 0.8))


def test_a_parameter_that_no_trial_has_is_refused(make_record: MakeRecord) -> None:
    message = "`--by` names a parameter of the sweep, but got `backbon`; did you mean `backbone`?"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        grouped(rank([make_record(0, 0.5)], "top1"), "backbon")


def test_a_thousand_trials_take_seconds() -> None:
    rng = np.random.default_rng(0)
    trials = {number: said(rng.choice(1780, 300 + number % 100, replace=False), images=1780) for number in range(1000)}
    records = [
        TrialRecord(
            number=number, state="complete", params={"lr": 1e-3}, epochs=(metrics(1, 1 - len(one.labels) / 9999),)
        )
        for number, one in trials.items()
    ]
    started = time.process_time()
    board = with_intervals(rank(records, "top1"), trials.__getitem__)
    assert all(row.interval is not None for row in board.rows)
    assert time.process_time() - started < 10.0

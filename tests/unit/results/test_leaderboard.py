"""Ranking."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.records import TrialRecord, TrialState
from sweeper.results import rank

MakeRecord = Callable[..., TrialRecord]


def test_a_trial_is_ranked_by_its_best_epoch(make_record: MakeRecord) -> None:
    board = rank([make_record(0, 0.5, 0.6), make_record(1, 0.9, 0.1), make_record(2, 0.7)], "top1")
    assert [(row.rank, row.number, row.best.epoch) for row in board.rows] == [(1, 1, 1), (2, 2, 1), (3, 0, 2)]
    assert board.best is not None
    assert (board.best.epochs, board.best.seconds) == (2, 24.0)


def test_a_loss_ranks_the_other_way_round(make_record: MakeRecord) -> None:
    board = rank([make_record(0, 0.5), make_record(1, 0.9)], "val_loss")
    assert [row.number for row in board.rows] == [1, 0]


def test_equal_trials_share_a_rank_and_the_earlier_stands_first(make_record: MakeRecord) -> None:
    board = rank([make_record(2, 0.8), make_record(0, 0.8), make_record(1, 0.7)], "top1")
    assert [(row.rank, row.number) for row in board.rows] == [(1, 0), (1, 2), (3, 1)]


def test_a_trial_without_an_epoch_is_not_ranked(make_record: MakeRecord) -> None:
    board = rank([make_record(1, state=TrialState.FAILED), make_record(0, 0.1)], "top1")
    assert board.unranked == (1,)
    assert rank([], "top1").best is None

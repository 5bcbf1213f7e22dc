"""How sure a ranking is: intervals by bootstrap over the validation images, and trials level with the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sweeper.predictions import Predictions
from sweeper.records import METRICS
from sweeper.results.leaderboard import Leaderboard, Row
from sweeper.results.resampling import Values, interval_of, resampled
from sweeper.results.scores import ImageScores, image_scores


def with_intervals(board: Leaderboard, predictions: Callable[[int], Predictions | None]) -> Leaderboard:
    """Returns the board with an interval for each trial, and the trials that are level with the best.

    All trials are judged on the same resampled images, so that their differences are paired. A trial without
    predictions of its best epoch, or with those of other images than the best has, stays without an interval.

    Args:
        board: from `rank`.
        predictions: reads what a trial said, by its number.
    """
    found = dict(_scored(board, predictions))
    if not found:
        return board
    scores = next(iter(found.values()))
    values = resampled(scores, np.stack([one.values for one in found.values()]))
    lows, highs = (edge.tolist() for edge in interval_of(values))
    intervals = dict(zip(found, zip(lows, highs, strict=True), strict=True))
    level = _level_with_best(board, list(found), values)
    rows = tuple(
        row.model_copy(update={"interval": intervals.get(row.number), "is_level": row.number in level})
        for row in board.rows
    )
    return board.model_copy(update={"rows": rows, "images": len(scores.labels)})


def _scored(board: Leaderboard, predictions: Callable[[int], Predictions | None]) -> Iterator[tuple[int, ImageScores]]:
    """Yields the trials whose images' scores are known, if they are of the same images as the first's."""
    first: Predictions | None = None
    for row in board.rows:
        said = _said(row, predictions)
        if said is None or (first is not None and not said.is_of_same_images(first)):
            continue
        scores = image_scores(board.objective, said)
        if scores is None:
            return
        # Of the first one, what compares images; its logits would stay in memory otherwise.
        first = first or said
        yield row.number, scores


def _said(row: Row, predictions: Callable[[int], Predictions | None]) -> Predictions | None:
    said = predictions(row.number)
    # A trial that runs may have written a better epoch than the ledger has heard of.
    return said if said is not None and said.info.epoch == row.best.epoch else None


def _level_with_best(board: Leaderboard, numbers: list[int], values: Values) -> set[int]:
    """Returns the trials that are not clearly worse than the best: itself too, but only if there are others."""
    best = board.best
    if best is None or best.number not in numbers:
        return set()
    sign = 1.0 if METRICS[board.objective].higher_is_better else -1.0
    lead = sign * (values[:, [numbers.index(best.number)]] - values)
    least, _ = interval_of(lead)
    keeping = {row.number for row in board.rows if not row.breaks}
    level = {number for number, lowest in zip(numbers, least.tolist(), strict=True) if lowest <= 0.0} & keeping
    return level if len(level) > 1 else set()

"""Which finished trials are the best, as the driver needs to know it: the leaderboard is above it."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.records import METRICS, EpochMetrics, TrialRecord
from sweeper.spec.objectives import excess
from sweeper.spec.search import SearchSpec


def best_first(records: Iterable[TrialRecord], search: SearchSpec) -> list[int]:
    """Returns the numbers of the trials with a finished epoch in the order of the leaderboard."""
    sign = -1.0 if METRICS[search.objective].higher_is_better else 1.0
    found = [(record, best) for record in records if (best := record.best_epoch(search.objective)) is not None]
    found.sort(key=lambda pair: (excess(search.constraints, pair[1]), sign * pair[1].value(search.objective)))
    return [record.number for record, _ in found]


def front(records: Iterable[TrialRecord], search: SearchSpec) -> set[int]:
    """Returns the trials that no other beats in every objective; empty where there is only one objective."""
    if not search.also:
        return set()
    names = (search.objective, *search.also)
    best: dict[int, EpochMetrics] = {
        record.number: epoch for record in records if (epoch := record.best_epoch(search.objective)) is not None
    }
    return {number for number, own in best.items() if not any(other.dominates(own, names) for other in best.values())}

"""Trials ranked by the objective at their best epoch."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from sweeper.records import METRICS, EpochMetrics, ParamValue, TrialRecord, TrialState


class Row(BaseModel):
    """One ranked trial."""

    model_config = ConfigDict(frozen=True)

    rank: int
    """1 is best; trials with the very same value share a rank."""
    number: int
    state: TrialState
    best: EpochMetrics
    """The trial's best epoch, by which it is ranked; not its last."""
    epochs: int
    """Epochs the trial ran in all."""
    seconds: float
    """Seconds it trained and evaluated."""
    params: dict[str, ParamValue]


class Leaderboard(BaseModel):
    """All trials that finished an epoch, best first."""

    model_config = ConfigDict(frozen=True)

    objective: str
    rows: tuple[Row, ...]
    unranked: tuple[int, ...]
    """Numbers of the trials without a finished epoch."""

    @property
    def best(self) -> Row | None:
        """The best trial, None before any epoch has ended."""
        return self.rows[0] if self.rows else None


def rank(records: Iterable[TrialRecord], objective: str) -> Leaderboard:
    """Ranks trials by their best epoch; among equals the earlier trial stands first.

    Args:
        records: the trials, in any order and state.
        objective: one of `METRICS`.
    """
    sign = -1.0 if METRICS[objective].higher_is_better else 1.0
    ranked: list[tuple[float, TrialRecord, EpochMetrics]] = []
    unranked: list[int] = []
    for record in records:
        best = record.best_epoch(objective)
        if best is None:
            unranked.append(record.number)
        else:
            ranked.append((sign * best.value(objective), record, best))
    ranked.sort(key=lambda item: (item[0], item[1].number))
    values = [value for value, _, _ in ranked]
    rows = (
        Row(
            rank=values.index(value) + 1,
            number=record.number,
            state=record.state,
            best=best,
            epochs=len(record.epochs),
            seconds=record.seconds,
            params=record.params,
        )
        for value, record, best in ranked
    )
    return Leaderboard(objective=objective, rows=tuple(rows), unranked=tuple(sorted(unranked)))

"""Trials ranked by the objective at their best epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from sweeper.records import METRICS, EpochMetrics, ParamValue, TrialRecord, TrialState
from sweeper.results.confirmation import Confirmation
from sweeper.spec.objectives import BoundSpec, broken, excess
from sweeper.spec.search import SearchSpec


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
    breaks: tuple[str, ...] = ()
    """The constraints its best epoch breaks, each as a few words; such a trial stands behind all that keep to them."""
    on_front: bool = False
    """Whether no trial is as good in every objective and better in one; only where there are several."""
    interval: tuple[float, float] | None = None
    """Of the objective, 95 %, over the validation images; None where it is not known what the trial said of them."""
    is_level: bool = False
    """Whether the validation images cannot tell the trial from the best; see `with_intervals`."""
    gpu_hours: float = 0.0
    """Hours it trained and evaluated, times its GPUs."""


class Leaderboard(BaseModel):
    """All trials that finished an epoch, best first."""

    model_config = ConfigDict(frozen=True)

    objective: str
    also: tuple[str, ...] = ()
    """The other objectives."""
    constrained: tuple[str, ...] = ()
    """The metrics that have constraints."""
    rows: tuple[Row, ...]
    unranked: tuple[int, ...]
    """Numbers of the trials without a finished epoch."""
    images: int | None = None
    """Validation images behind the intervals; None where there are no intervals."""
    confirmation: Confirmation | None = None
    """What runs over seeds say of the best; None where there were none."""
    importance: dict[str, float] = {}
    """Share of each parameter in what sets the best trials apart, largest first; empty where trials are few."""

    @property
    def best(self) -> Row | None:
        """The best trial; None before any epoch has ended, and while every trial breaks a constraint."""
        return self.rows[0] if self.rows and not self.rows[0].breaks else None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters, those that matter first, the others in the order of the search space."""
        return tuple(dict.fromkeys([*self.importance, *(name for row in self.rows for name in row.params)]))


def rank(
    records: Iterable[TrialRecord],
    objective: str,
    *,
    also: Sequence[str] = (),
    constraints: Mapping[str, BoundSpec] | None = None,
) -> Leaderboard:
    """Ranks trials by their best epoch; among equals the earlier trial stands first.

    Trials that break a constraint come last, those that break them least first.

    Args:
        records: the trials, in any order and state.
        objective: one of `METRICS`.
        also: other metrics that count; the ranking is by `objective`, the front by all.
        constraints: what a winner must keep to.
    """
    sign = -1.0 if METRICS[objective].higher_is_better else 1.0
    bounds = constraints or {}
    ranked: list[tuple[tuple[float, float], TrialRecord, EpochMetrics]] = []
    unranked: list[int] = []
    for record in records:
        best = record.best_epoch(objective)
        if best is None:
            unranked.append(record.number)
        else:
            ranked.append(((excess(bounds, best), sign * best.value(objective)), record, best))
    ranked.sort(key=lambda item: (item[0], item[1].number))
    keys = [key for key, _, _ in ranked]
    keeping = [best for (over, _), _, best in ranked if over == 0.0]
    objectives = (objective, *also)
    rows = (
        Row(
            rank=keys.index(key) + 1,
            number=record.number,
            state=record.state,
            best=best,
            epochs=len(record.epochs),
            seconds=record.seconds,
            params=record.params,
            breaks=broken(bounds, best),
            on_front=bool(also) and key[0] == 0.0 and not any(one.dominates(best, objectives) for one in keeping),
        )
        for key, record, best in ranked
    )
    return Leaderboard(
        objective=objective,
        also=tuple(also),
        constrained=tuple(bounds),
        rows=tuple(rows),
        unranked=tuple(sorted(unranked)),
    )


def with_costs(board: Leaderboard, *, gpus: float, importance: Mapping[str, float]) -> Leaderboard:
    """Returns the board with what its trials took and which of their parameters mattered.

    Args:
        board: from `rank`.
        gpus: of each trial.
        importance: the share of each parameter, largest first.
    """
    rows = tuple(row.model_copy(update={"gpu_hours": row.seconds * gpus / 3600}) for row in board.rows)
    return board.model_copy(update={"rows": rows, "importance": dict(importance)})


def rank_for(records: Iterable[TrialRecord], search: SearchSpec) -> Leaderboard:
    """Ranks trials as the `search:` section of their sweep asks."""
    return rank(records, search.objective, also=search.also, constraints=search.constraints)

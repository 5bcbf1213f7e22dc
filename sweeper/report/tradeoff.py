"""What quality costs: the objective against latency, or against the sweep's second objective."""

from __future__ import annotations

import math

from sweeper.records import METRICS, EpochMetrics
from sweeper.report.section import Section, Value
from sweeper.report.source import Source


class Trade(Value):
    """One trial."""

    trial: int
    backbone: str
    cost: float
    objective: float
    on_front: bool
    """Whether no trial is as good in both and better in one."""


class Tradeoff(Section):
    """All trials whose best epoch tells both."""

    metric: str
    against: str
    trades: tuple[Trade, ...] = ()


def tradeoff_of(source: Source) -> Tradeoff:
    """Returns the trials with the front they make."""
    search = source.spec.search
    name, against = search.objective, next(iter(search.also), "latency_ms")
    rows = [
        (row.number, row.best)
        for row in source.board.rows
        if math.isfinite(row.best.value(name)) and math.isfinite(row.best.value(against))
    ]
    if not rows:
        nothing = f"No trial tells its {METRICS[against].title} beside its {METRICS[name].title}."
        return Tradeoff(metric=name, against=against, nothing=nothing)
    records = {record.number: record for record in source.records}
    front = _front([best for _, best in rows], name, against)
    trades = tuple(
        Trade(
            trial=number,
            backbone=source.backbone_of(records[number]),
            cost=best.value(against),
            objective=best.value(name),
            on_front=at in front,
        )
        for at, (number, best) in enumerate(rows)
    )
    return Tradeoff(metric=name, against=against, trades=trades)


def _front(epochs: list[EpochMetrics], name: str, against: str) -> set[int]:
    """Returns which epochs no other beats in one without losing in the other; by sorting, as there may be thousands."""
    signs = [-1.0 if METRICS[one].higher_is_better else 1.0 for one in (name, against)]
    losses = [(signs[1] * epoch.value(against), signs[0] * epoch.value(name)) for epoch in epochs]
    front: set[int] = set()
    least, last = math.inf, None
    for at in sorted(range(len(losses)), key=losses.__getitem__):
        if losses[at][1] < least or losses[at] == last:
            front.add(at)
            least, last = losses[at][1], losses[at]
    return front

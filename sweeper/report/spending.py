"""Where time and money went."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sweeper.planning.compare import Comparison, compare
from sweeper.records import TrialRecord, TrialState
from sweeper.report.section import Section, Value
from sweeper.report.source import Source


class Share(Value):
    """A part of the time that trials took."""

    name: str
    seconds: float
    trials: int


class Span(Value):
    """When a trial was under way, from its first start to its end, pauses included."""

    trial: int
    state: TrialState
    started: float
    """Seconds after the first trial's start."""
    finished: float
    """Likewise; the latest time that is known for a trial that is still running."""
    lane: int
    """Trials in one lane do not overlap."""


class Spending(Section):
    """Time and money of all trials."""

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    epochs: int = 0
    hours: float = 0.0
    """On the clock, pauses between runs left out; 0 where the sweep did not note it."""
    gpu_hours: float = 0.0
    money: float | None = None
    """`hours` at `resources.price_per_hour`; None where no price is given."""
    by_backbone: tuple[Share, ...] = ()
    by_outcome: tuple[Share, ...] = ()
    spans: tuple[Span, ...] = ()
    lanes: int = 0
    plan: tuple[Comparison, ...] = ()
    """What was planned beside what was measured; empty where the sweep has no plan."""


def spending_of(source: Source) -> Spending:
    """Returns what all trials took."""
    records = [record for record in source.records if record.epochs]
    spans, lanes = _spans(source.records)
    if not records:
        return Spending(nothing="No trial has finished an epoch, so no time can be told.", spans=spans, lanes=lanes)
    epochs = [epoch for record in records for epoch in record.epochs]
    price = source.spec.resources.price_per_hour
    return Spending(
        train_seconds=sum(epoch.train_seconds for epoch in epochs),
        eval_seconds=sum(epoch.eval_seconds for epoch in epochs),
        epochs=len(epochs),
        hours=source.spent.hours,
        gpu_hours=source.spent.gpu_hours,
        money=None if price is None else price * source.spent.hours,
        by_backbone=_shares(records, source.backbone_of),
        by_outcome=_shares(records, lambda record: record.state.value),
        spans=spans,
        lanes=lanes,
        plan=compare(source.spec, source.plan, records) if source.plan else (),
    )


def _shares(records: Iterable[TrialRecord], name: Callable[[TrialRecord], str]) -> tuple[Share, ...]:
    found: dict[str, list[TrialRecord]] = {}
    for record in records:
        found.setdefault(name(record), []).append(record)
    shares = (Share(name=key, seconds=sum(r.seconds for r in some), trials=len(some)) for key, some in found.items())
    return tuple(sorted(shares, key=lambda share: -share.seconds))


def _spans(records: Iterable[TrialRecord]) -> tuple[tuple[Span, ...], int]:
    """Lays trials into as few lanes as were used at once."""
    timed = sorted((record.started, record) for record in records if record.started is not None and record.attempts)
    if not timed:
        return (), 0
    first = timed[0][0]
    ends = [record.finished or started + record.seconds for started, record in timed]
    free: list[float] = []
    spans = []
    for (started, record), end in zip(timed, ends, strict=True):
        lane = next((at for at, until in enumerate(free) if until <= started), len(free))
        free[lane : lane + 1] = [end]
        spans.append(
            Span(trial=record.number, state=record.state, started=started - first, finished=end - first, lane=lane)
        )
    return tuple(spans), len(free)

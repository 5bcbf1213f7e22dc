"""The searched space: every trial as a line across its parameters, and the objective against each of them."""

from __future__ import annotations

import math

from sweeper.records import ParamValue, TrialState
from sweeper.report.section import Section, Value
from sweeper.report.source import Source
from sweeper.spec.space import Choice, Fixed, LogInt, LogUniform, Parameter


class Axis(Value):
    """One searched parameter."""

    name: str
    log: bool = False
    whole: bool = False
    """Whether all its values are whole numbers."""
    options: tuple[str, ...] = ()
    """The values of a choice, as text, those that occurred; empty for a number."""
    importance: float | None = None
    """Share of all parameters' importance, 0 to 1; None where there are too few trials to say."""


class Point(Value):
    """One trial."""

    trial: int
    state: TrialState
    values: tuple[float | str | None, ...]
    """By axis; None where the parameter did not apply."""
    objective: float
    """At its best epoch."""


class Space(Section):
    """All trials with a finished epoch, the best last."""

    metric: str
    axes: tuple[Axis, ...] = ()
    """The most important first."""
    points: tuple[Point, ...] = ()
    winner: int | None = None
    evaluator: str = (
        "Importance is Optuna's PED-ANOVA: a parameter counts as much as the best tenth of the trials differs in it "
        "from all trials. Trials that were stopped early count with their best epoch."
    )


def space_of(source: Source) -> Space:
    """Returns the trials in their space."""
    name = source.metric.name
    records = {record.number: record for record in source.records}
    rows = [row for row in source.board.rows if math.isfinite(row.best.value(name))]
    axes = _axes(source, [row.params for row in rows])
    if not rows or not axes:
        why = "No parameter was searched." if rows else "No trial has finished an epoch, so no parameter can be judged."
        return Space(metric=name, nothing=why)
    points = tuple(
        Point(
            trial=row.number,
            state=records[row.number].state,
            values=tuple(_value(axis, row.params.get(axis.name)) for axis in axes),
            objective=row.best.value(name),
        )
        for row in reversed(rows)
    )
    return Space(metric=name, axes=axes, points=points, winner=source.winner.number if source.winner else None)


def _axes(source: Source, params: list[dict[str, ParamValue]]) -> tuple[Axis, ...]:
    shares = source.importances
    names = dict.fromkeys(name for point in params for name in point)
    kinds = _kinds(source)
    axes = []
    for name in sorted(names, key=lambda name: -shares.get(name, 0.0)):
        values = [point[name] for point in params if name in point]
        if isinstance(kinds.get(name), Fixed):
            continue
        is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if is_number and not isinstance(kinds.get(name), Choice):
            log = isinstance(kinds.get(name), (LogUniform, LogInt))
            whole = all(isinstance(value, int) for value in values)
            axes.append(Axis(name=name, log=log, whole=whole, importance=shares.get(name)))
        else:
            listed = kinds[name].ends if isinstance(kinds.get(name), Choice) else ()
            used = tuple(dict.fromkeys(str(one) for one in (*listed, *values) if one in values))
            axes.append(Axis(name=name, options=used, importance=shares.get(name)))
    return tuple(axes)


def _kinds(source: Source) -> dict[str, Parameter]:
    spec = source.spec
    return {one.name: one.parameter for backbone in spec.backbones for one in spec.parameters(backbone)}


def _value(axis: Axis, value: ParamValue) -> float | str | None:
    if value is None and "None" not in axis.options:
        return None
    if axis.options:
        return str(value)
    assert isinstance(value, (int, float))
    return float(value)

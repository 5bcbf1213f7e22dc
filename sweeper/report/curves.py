"""Learning curves: the objective after each epoch of each trial."""

from __future__ import annotations

import math

from sweeper.records import TrialState
from sweeper.report.section import Section, Value
from sweeper.report.source import Source
from sweeper.report.words import settings


class Curve(Value):
    """One trial."""

    trial: int
    backbone: str
    state: TrialState
    about: str
    """The trial's settings, on one line."""
    points: tuple[tuple[int, float], ...]
    """(epoch, objective), epochs whose objective is not finite left out."""


class Curves(Section):
    """All trials, the best last, so that it is drawn above the others."""

    metric: str
    curves: tuple[Curve, ...] = ()
    winner: int | None = None


def curves_of(source: Source) -> Curves:
    """Returns the curves of all trials with an epoch to show."""
    name = source.metric.name
    place = {row.number: at for at, row in enumerate(source.board.rows)}
    found = []
    for record in source.records:
        points = ((epoch.epoch, epoch.value(name)) for epoch in record.epochs)
        kept = tuple(point for point in points if math.isfinite(point[1]))
        if kept:
            backbone, about = source.backbone_of(record), settings(record.params)
            found.append(Curve(trial=record.number, backbone=backbone, state=record.state, about=about, points=kept))
    if not found:
        return Curves(metric=name, nothing="No trial has finished an epoch, so there is no curve to draw.")
    found.sort(key=lambda curve: -place.get(curve.trial, len(place)))
    return Curves(metric=name, curves=tuple(found), winner=source.winner.number if source.winner else None)

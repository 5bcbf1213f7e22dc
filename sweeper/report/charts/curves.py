"""Learning curves as a drawing."""

from __future__ import annotations

from markupsafe import Markup

from sweeper.records import METRICS
from sweeper.report.charts.plot import Frame, area, both_sizes
from sweeper.report.charts.scale import Scale
from sweeper.report.charts.svg import drawing, element, path
from sweeper.report.curves import Curve, Curves
from sweeper.report.words import measured, tick


def draw_curves(section: Curves) -> Markup:
    """Draws every trial's curve, the winner above the others; a trial of one epoch is a dot."""
    return both_sizes(lambda size: _draw(section, size))


def _draw(section: Curves, size: tuple[int, int]) -> Markup:
    metric = METRICS[section.metric]
    across, up = area(size)
    values = [value for curve in section.curves for _, value in curve.points]
    last = max(epoch for curve in section.curves for epoch, _ in curve.points)
    frame = Frame(
        size=size,
        x=Scale(0.9 if last == 1 else 1, last + (0.1 if last == 1 else 0), *across, whole=True),
        y=Scale.over(values, between=up),
        x_name="epoch",
        y_name=metric.title,
        x_tick=lambda value: f"{value:g}",
        y_tick=lambda value: tick(section.metric, value),
    )
    crowd = "many" if len(section.curves) > 60 else "few"
    lines = [_line(curve, frame, section) for curve in section.curves]
    return drawing(
        [*frame.draw(), element("g", *lines, class_=f"lines {crowd}")],
        size=size,
        title="Learning curves",
        description=f"{metric.title} after each epoch of {len(section.curves)} trials.",
    )


def _line(curve: Curve, frame: Frame, section: Curves) -> Markup:
    kind = "best" if curve.trial == section.winner else curve.state.value
    places = [(frame.x(epoch), frame.y(value)) for epoch, value in curve.points]  # type: ignore[arg-type]
    last = measured(section.metric, curve.points[-1][1])
    about = element("title", f"trial {curve.trial}, {curve.state.value}, last {last}: {curve.about}")
    if len(places) == 1:
        ((x, y),) = places
        return element("circle", about, cx=x, cy=y, r=3, class_=kind, data_trial=str(curve.trial))
    return element("path", about, d=path(places), class_=kind, data_trial=str(curve.trial))

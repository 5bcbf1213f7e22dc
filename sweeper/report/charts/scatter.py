"""Clouds of trials or classes as drawings: slices of the space, trade-offs, recall by class size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sweeper.records import METRICS
from sweeper.report.charts.plot import SMALL, Frame, Margins, area, both_sizes
from sweeper.report.charts.scale import Names, Scale
from sweeper.report.charts.svg import drawing, element, path
from sweeper.report.classes import Classes
from sweeper.report.space import Axis, Space
from sweeper.report.tradeoff import Tradeoff
from sweeper.report.words import measured, plain, tick

_TITLED = 300
"""Marks up to which each has a title of its own; more would make the page heavy and hide each other anyway."""


@dataclass(frozen=True)
class Mark:
    """One dot."""

    x: float
    y: float
    kind: str
    title: str
    trial: int | None = None


def draw_slices(section: Space) -> list[tuple[Axis, Markup]]:
    """Draws the objective against each parameter."""
    return [(axis, _slice(section, at, axis)) for at, axis in enumerate(section.axes)]


def draw_tradeoff(section: Tradeoff) -> Markup:
    """Draws quality against cost, with the front as a stair."""
    return both_sizes(lambda size: _tradeoff(section, size))


def draw_recalls(section: Classes) -> Markup:
    """Draws each class's recall against its training images."""
    return both_sizes(lambda size: _recalls(section, size))


def _slice(section: Space, at: int, axis: Axis) -> Markup:
    margins = Margins(left=66, bottom=38)
    across, up = area(SMALL, margins)
    points = [(point, value) for point in section.points if (value := point.values[at]) is not None]
    x: Scale | Names
    if axis.options:
        x = Names(axis.options, *across)
    else:
        x = Scale.over([float(value) for _, value in points], between=across, log=axis.log, whole=axis.whole)
    frame = Frame(
        size=SMALL,
        x=x,
        y=Scale.over([point.objective for point in section.points], between=up),
        x_name=axis.name,
        y_name=METRICS[section.metric].title,
        x_tick=plain,
        y_tick=lambda value: tick(section.metric, value),
        margins=margins,
    )
    marks = []
    for point, value in points:
        # Names would hide each other: dots of a choice are spread by trial number, the same way every time.
        spread = (point.trial * 7 % 11 - 5) * 2.2 if axis.options else 0.0
        place = x(value) + spread  # type: ignore[arg-type]
        kind = "best" if point.trial == section.winner else point.state.value
        shown = value if isinstance(value, str) else plain(value)
        title = f"trial {point.trial}: {axis.name} {shown}, {measured(section.metric, point.objective)}"
        marks.append(Mark(place, frame.y(point.objective), kind, title, point.trial))
    description = f"{METRICS[section.metric].title} of {len(points)} trials against {axis.name}."
    return drawing([*frame.draw(), _dots(marks)], size=SMALL, title=axis.name, description=description)


def _tradeoff(section: Tradeoff, size: tuple[int, int]) -> Markup:
    metric, against = METRICS[section.metric], METRICS[section.against]
    across, up = area(size)
    costs = [trade.cost for trade in section.trades]
    log = min(costs) > 0.0 and max(costs) > 4 * min(costs)
    frame = Frame(
        size=size,
        x=Scale.over(costs, between=across, log=log),
        y=Scale.over([trade.objective for trade in section.trades], between=up),
        x_name=against.title,
        y_name=metric.title,
        x_tick=lambda value: tick(section.against, value),
        y_tick=lambda value: tick(section.metric, value),
    )
    marks = [
        Mark(
            frame.x(trade.cost),  # type: ignore[arg-type]
            frame.y(trade.objective),
            "best" if trade.on_front else "complete",
            f"trial {trade.trial}, {trade.backbone}: {measured(section.metric, trade.objective)}, "
            f"{against.title} {measured(section.against, trade.cost)}",
            trade.trial,
        )
        for trade in reversed(section.trades)
    ]
    front = sorted((mark.x, mark.y) for mark in marks if mark.kind == "best")
    stair = [front[0]]
    for place in front[1:]:
        stair += [(place[0], stair[-1][1]), place]
    description = f"{metric.title} of {len(marks)} trials against {against.title}; {len(front)} are on the front."
    return drawing(
        [*frame.draw(), element("path", d=path(stair), class_="front"), _dots(marks)],
        size=size,
        title=f"{metric.title} against {against.title}",
        description=description,
    )


def _recalls(section: Classes, size: tuple[int, int]) -> Markup:
    known = [(row, row.train_images) for row in section.rows if row.train_images]
    across, up = area(size)
    frame = Frame(
        size=size,
        x=Scale.over([float(count) for _, count in known], between=across, log=True),
        y=Scale(-0.04, 1.04, *up),
        x_name="training images",
        y_name="recall",
        x_tick=lambda value: f"{value:g}",
        y_tick=lambda value: f"{100 * value:g} %",
    )
    marks = [
        Mark(
            frame.x(count),  # type: ignore[arg-type]
            frame.y(row.recall),
            row.group,
            f"{row.name}: {row.right} of {row.images} right, {count:,} training images",
        )
        for row, count in known
    ]
    return drawing(
        [*frame.draw(), _dots(marks)],
        size=size,
        title="Recall by class size",
        description=f"Recall of {len(marks)} classes against their training images.",
    )


def _dots(marks: Sequence[Mark]) -> Markup:
    titled = len(marks) <= _TITLED
    dots = (
        element(
            "circle",
            *((element("title", mark.title),) if titled or mark.kind == "best" else ()),
            cx=mark.x,
            cy=mark.y,
            r=4.5 if titled else 3,
            class_=mark.kind,
            data_trial=None if mark.trial is None else str(mark.trial),
        )
        for mark in marks
    )
    return element("g", *dots, class_=f"dots {'few' if titled else 'many'}")

"""Parallel coordinates: every trial a line across its parameters to what came out.

On a wide page the axes stand side by side; on a narrow one they lie one below the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from sweeper.records import METRICS
from sweeper.report.charts.scale import Names, Scale
from sweeper.report.charts.svg import drawing, element, line, path, shortened, text
from sweeper.report.space import Axis, Point, Space
from sweeper.report.words import measured, plain, tick

_WIDTH = {"wide": 760, "narrow": 360}
_STEPS = 5
"""Colours, from the worst to the best fifth."""
_ABSENT = 22
"""Pixels beyond the end of an axis where lines go that have no value there."""
_CROWD = 60
"""Lines from which each is drawn thin and pale."""


def draw_parallel(section: Space) -> Markup:
    """Draws all trials; colours are fifths of the trials by the objective, the winner has its own."""
    return element("div", _Layout(section, upright=True).draw(), class_="wide") + element(
        "div", _Layout(section, upright=False).draw(), class_="narrow"
    )


@dataclass(frozen=True, eq=False)
class _Layout:
    section: Space
    upright: bool
    """Whether axes are upright, side by side."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        rows = len(self.section.axes) + 1
        return (max(_WIDTH["wide"], 110 * rows), 380) if self.upright else (_WIDTH["narrow"], 74 * rows + 16)

    @cached_property
    def places(self) -> list[float]:
        """Where each axis stands, that of the objective last."""
        count = len(self.section.axes) + 1
        first, room = (60, self.size[0] - 140) if self.upright else (40, self.size[1] - 70)
        return [first + at * room / (count - 1) for at in range(count)]

    @cached_property
    def has_absent(self) -> bool:
        """Whether a trial lacks a value on some axis."""
        return any(None in point.values for point in self.section.points)

    @cached_property
    def span(self) -> tuple[float, float]:
        """From where to where an axis runs."""
        low, high = (self.size[1] - 28, 34) if self.upright else (24, self.size[0] - 24)
        room = _ABSENT if self.has_absent else 0
        return (low - room, high) if self.upright else (low + room, high)

    @property
    def absent(self) -> float:
        """Where a line goes that has no value there."""
        return self.span[0] + (_ABSENT if self.upright else -_ABSENT)

    @cached_property
    def scales(self) -> list[Scale | Names]:
        """Of the parameters."""
        return [self._scale(at, axis) for at, axis in enumerate(self.section.axes)]

    @cached_property
    def goal(self) -> Scale:
        """Of the objective."""
        return Scale.over([point.objective for point in self.section.points], between=self.span)

    def draw(self) -> Markup:
        """Returns the whole drawing."""
        section = self.section
        metric = METRICS[section.metric]
        lines = [self._line(rank, point) for rank, point in enumerate(section.points)]
        crowd = "many" if len(lines) > _CROWD else "few"
        axes = [
            self._axis(axis.name, scale, place, plain)
            for axis, scale, place in zip(section.axes, self.scales, self.places, strict=False)
        ]
        axes.append(self._axis(metric.title, self.goal, self.places[-1], lambda value: tick(section.metric, value)))
        if self.has_absent:
            where = (8, self.absent + 4) if self.upright else (2, self.places[0] - 22)
            axes.append(text(where, "none"))
        return drawing(
            [element("g", *lines, class_=f"lines {crowd}"), *axes],
            size=self.size,
            title="Parallel coordinates",
            description=f"{len(lines)} trials, each a line across {len(section.axes)} parameters to {metric.title}.",
        )

    def _scale(self, at: int, axis: Axis) -> Scale | Names:
        if axis.options:
            return Names(axis.options, *self.span)
        values = [float(value) for point in self.section.points if (value := point.values[at]) is not None]
        return Scale.over(values, between=self.span, log=axis.log, whole=axis.whole)

    def _line(self, rank: int, point: Point) -> Markup:
        along = [
            self.absent if value is None else scale(value)  # type: ignore[arg-type]  # a name goes with names
            for value, scale in zip(point.values, self.scales, strict=True)
        ]
        places = list(zip(self.places, [*along, self.goal(point.objective)], strict=True))
        shown = ", ".join(
            f"{axis.name} {value if isinstance(value, str) else plain(value)}"
            for axis, value in zip(self.section.axes, point.values, strict=True)
            if value is not None
        )
        about = element("title", f"trial {point.trial}, {measured(self.section.metric, point.objective)}: {shown}")
        is_best = point.trial == self.section.winner
        return element(
            "path",
            about,
            d=path(places if self.upright else [(value, place) for place, value in places]),
            class_="best" if is_best else f"fifth{rank * _STEPS // len(self.section.points)}",
            data_trial=str(point.trial),
        )

    def _axis(self, name: str, scale: Scale | Names, place: float, told: Callable[[float], str]) -> Markup:
        low, high = self.span
        if isinstance(scale, Names):
            room = 13 if self.upright else 60 // len(scale.names) + 2
            ticks = [(scale(option), shortened(option, room)) for option in scale.names]
        else:
            ticks = [(scale(value), told(value)) for value in scale.ticks(5)]
        if self.upright:
            parts = [line((place, low), (place, high), "axis")]
            parts += [text((place + 5, at + 4), word, class_="tick") for at, word in ticks]
            parts.append(text((place, 18), shortened(name, 18), anchor="middle", class_="name"))
        else:
            parts = [line((low, place), (high, place), "axis")]
            parts += [text((at, place + 15), word, anchor="middle", class_="tick") for at, word in ticks]
            parts.append(text((2, place - 9), name, class_="name"))
        return element("g", *parts)

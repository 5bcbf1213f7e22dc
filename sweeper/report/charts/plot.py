"""The frame of a chart: grid, ticks, names of the axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from sweeper.report.charts.scale import Names, Scale
from sweeper.report.charts.svg import element, line, shortened, text

WIDE: Final = (760, 360)
NARROW: Final = (360, 300)
"""Two drawings of each large chart: a page shows the one that fits its width, so that words keep their size."""
SMALL: Final = (340, 230)
"""One of several that stand side by side."""


@dataclass(frozen=True)
class Margins:
    """Room around the plotting area, for ticks and names."""

    left: float = 70
    right: float = 14
    top: float = 14
    bottom: float = 44


@dataclass(frozen=True)
class Frame:
    """A plotting area with its two axes."""

    size: tuple[int, int]
    x: Scale | Names
    y: Scale
    x_name: str
    y_name: str
    x_tick: Callable[[float], str]
    y_tick: Callable[[float], str]
    margins: Margins = Margins()

    def draw(self) -> list[Markup]:
        """Returns grid, ticks and names; what is plotted comes above them."""
        width, height = self.size
        left, right = self.margins.left, width - self.margins.right
        bottom = height - self.margins.bottom
        parts = []
        for value in self.y.ticks(5):
            at = self.y(value)
            parts += [line((left, at), (right, at), "grid"), text((left - 8, at + 4), self.y_tick(value), anchor="end")]
        parts += self._x_ticks(bottom)
        middle = (left + right) / 2
        parts.append(text((middle, height - 6), self.x_name, anchor="middle", class_="name"))
        where = (self.margins.top + bottom) / 2
        parts.append(
            element(
                "text", self.y_name, x=12, y=where, text_anchor="middle", class_="name",
                transform=f"rotate(-90 12 {where:.0f})",
            )
        )  # fmt: skip
        return parts

    def _x_ticks(self, bottom: float) -> list[Markup]:
        if isinstance(self.x, Names):
            room = int((self.x.end - self.x.start) / len(self.x.names) / 6.5)
            return [
                text((self.x(name), bottom + 18), shortened(name, max(3, room)), anchor="middle")
                for name in self.x.names
            ]
        ticks = self.x.ticks(max(3, int((self.x.end - self.x.start) / 70)))
        return [text((self.x(value), bottom + 18), self.x_tick(value), anchor="middle") for value in ticks]


def area(size: tuple[int, int], margins: Margins = Margins()) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns where x and y run: from left to right, from bottom to top."""
    return (margins.left, size[0] - margins.right), (size[1] - margins.bottom, margins.top)


def both_sizes(
    draw: Callable[[tuple[int, int]], Markup], *, wide: tuple[int, int] = WIDE, narrow: tuple[int, int] = NARROW
) -> Markup:
    """Returns a chart drawn for wide and for narrow pages; the page's style shows one of them."""
    return element("div", draw(wide), class_="wide") + element("div", draw(narrow), class_="narrow")

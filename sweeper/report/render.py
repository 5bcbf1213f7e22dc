"""A Report becomes one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sweeper.records import METRICS
from sweeper.report import words
from sweeper.report.charts.curves import draw_curves
from sweeper.report.charts.parallel import draw_parallel
from sweeper.report.charts.scatter import draw_recalls, draw_slices, draw_tradeoff
from sweeper.report.charts.timeline import draw_timeline
from sweeper.report.report import Report

_TEMPLATES: Final = Path(__file__).parent / "templates"
_ROWS: Final = 20
"""Trials that a table shows before the reader asks for the rest."""
_MOST_ROWS: Final = 200
"""Trials that a table holds at all; `sweeper leaderboard` has the others."""


def render(report: Report) -> str:
    """Returns the page; every name and value in it is escaped.

    Args:
        report: of a sweep.
    """
    return (
        _templates()
        .get_template("report.html")
        .render(
            report=report,
            written=datetime.fromtimestamp(report.written, UTC).strftime("%d %B %Y, %H:%M UTC"),
            style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup((_TEMPLATES / "script.js").read_text(encoding="utf-8")),
            first_rows=_ROWS,
            most_rows=_MOST_ROWS,
        )
    )


@lru_cache(maxsize=1)
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": words.duration,
        "measured": lambda value, name: words.measured(name, value),
        "plain": words.plain,
        "settings": words.settings,
        "counted": words.counted,
        "percent": lambda value: "-" if value is None else f"{100 * value:.0f} %",
        "at_most": lambda items, count: list(islice(items, count)),
    }
    environment.globals |= {
        "METRICS": METRICS,
        "draw_curves": draw_curves,
        "draw_parallel": draw_parallel,
        "draw_recalls": draw_recalls,
        "draw_slices": draw_slices,
        "draw_timeline": draw_timeline,
        "draw_tradeoff": draw_tradeoff,
        "heat": heat,
        "top": max,
    }
    return environment


def heat(value: int, row: Sequence[int]) -> int:
    """Returns how dark a cell of a confusion matrix is, 0 to 9: its share of its row's images."""
    total = sum(row)
    return min(9, int(10 * value / total)) if total else 0

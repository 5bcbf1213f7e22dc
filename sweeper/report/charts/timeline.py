"""When each trial was under way, as a drawing."""

from __future__ import annotations

from markupsafe import Markup

from sweeper.report.charts.plot import both_sizes
from sweeper.report.charts.scale import Scale
from sweeper.report.charts.svg import drawing, element, line, text
from sweeper.report.spending import Spending

_LANES = 24
"""More lanes are drawn thinner, so that the drawing stays on a page."""


def draw_timeline(section: Spending) -> Markup:
    """Draws a bar for each trial; trials that ran at once lie in different lanes."""
    thick = 20 if section.lanes <= _LANES else max(2, 480 // section.lanes)
    height = section.lanes * thick + 46
    return both_sizes(lambda size: _draw(section, size, thick), wide=(760, height), narrow=(360, height))


def _draw(section: Spending, size: tuple[int, int], thick: int) -> Markup:
    end = max(span.finished for span in section.spans)
    unit, name = next(
        (pair for pair in ((86400, "days"), (3600, "hours"), (60, "minutes")) if end >= 2 * pair[0]), (1, "seconds")
    )
    x = Scale(0, max(end / unit, 1e-9), 8, size[0] - 24)
    bottom = section.lanes * thick + 6
    parts = []
    for value in x.ticks(size[0] // 90):
        parts += [
            line((x(value), 4), (x(value), bottom), "grid"),
            text((x(value), bottom + 16), f"{value:g}", anchor="middle"),
        ]
    parts.append(text((size[0] / 2, bottom + 34), f"{name} after the first start", anchor="middle", class_="name"))
    for span in section.spans:
        start, finish = x(span.started / unit), x(span.finished / unit)
        took = (span.finished - span.started) / unit
        parts.append(
            element(
                "rect",
                element("title", f"trial {span.trial}, {span.state.value}: {took:.3g} {name}"),
                x=start, y=6 + span.lane * thick, width=max(1.0, finish - start - 1), height=max(1.0, thick - 3),
                class_=span.state.value, data_trial=str(span.trial),
            )
        )  # fmt: skip
    return drawing(
        parts,
        size=size,
        title="Trials over time",
        description=f"{len(section.spans)} trials, up to {section.lanes} at once, over {end / unit:.3g} {name}.",
    )

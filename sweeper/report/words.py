"""How a report writes numbers, durations and settings."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sweeper.records import METRICS, Metric, ParamValue


def is_share(metric: Metric) -> bool:
    """Whether a metric is a share of images or of classes, which people read in percent."""
    return metric.higher_is_better and not metric.is_cost


def measured(name: str, value: float | None) -> str:
    """Returns a metric's value as a person reads it: `97.77 %`, `0.0950`, `12.4`; `-` where it is not known."""
    if value is None or math.isnan(value):
        return "-"
    metric = METRICS[name]
    return f"{100 * value:.2f} %" if is_share(metric) else format(value, metric.format)


def tick(name: str, value: float) -> str:
    """Returns a metric's value as it stands on an axis."""
    return f"{100 * value:g} %" if is_share(METRICS[name]) else f"{value:g}"


def duration(seconds: float) -> str:
    """Returns a time as people say it: `45 s`, `12 min`, `3.4 h`, `2.1 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def plain(value: ParamValue) -> str:
    """Returns a setting's value, three digits of a real number."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(params: Mapping[str, ParamValue]) -> str:
    """Returns a point on one line: `lr 0.00021, layer_decay 0.8`."""
    return ", ".join(f"{name} {plain(value)}" for name, value in params.items())


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a number with its noun: `1 trial`, `1,000 trials`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"

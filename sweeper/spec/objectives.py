"""What a trial must keep to besides being good: bounds on its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

from pydantic import model_validator

from sweeper.records import METRICS, EpochMetrics
from sweeper.spec.model import Section


class BoundSpec(Section):
    """What a metric of a winner may be: `{max: 20}`."""

    min: float | None = None
    """Least value that is allowed."""
    max: float | None = None
    """Largest value that is allowed."""

    @model_validator(mode="after")
    def bounds_something(self) -> Self:
        """A bound without an end, or one that nothing can keep to, is a mistake."""
        if self.min is None and self.max is None:
            raise ValueError("a constraint needs `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"a constraint needs min <= max, but got min {self.min:g} and max {self.max:g}")
        return self

    def excess(self, value: float) -> float:
        """Returns by how much `value` breaks the bound, as a share of the bound; 0 if it keeps to it, or is unknown."""
        above = (value - self.max) / (abs(self.max) or 1.0) if self.max is not None else 0.0
        below = (self.min - value) / (abs(self.min) or 1.0) if self.min is not None else 0.0
        return 0.0 if math.isnan(value) else max(above, below, 0.0)

    def __str__(self) -> str:
        """The bound as a person writes it: `<= 20`."""
        ends = ((">=", self.min), ("<=", self.max))
        return " and ".join(f"{sign} {end:g}" for sign, end in ends if end is not None)


def excess(constraints: Mapping[str, BoundSpec], epoch: EpochMetrics) -> float:
    """Returns how much an epoch breaks the constraints in all, in shares of the bounds; 0 if it keeps to them."""
    return sum(bound.excess(epoch.value(name)) for name, bound in constraints.items())


def broken(constraints: Mapping[str, BoundSpec], epoch: EpochMetrics) -> tuple[str, ...]:
    """Returns the constraints that an epoch breaks, each as `latency 31.2 ms, not <= 20`."""
    return tuple(
        f"{METRICS[name].shown(epoch.value(name))}, not {bound}"
        for name, bound in constraints.items()
        if bound.excess(epoch.value(name)) > 0.0
    )

"""What a trial must keep to besides being good: bounds on its metrics."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

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
        """Returns by how much `value` breaks the bound, 0 if it keeps to it."""
        above = value - self.max if self.max is not None else 0.0
        below = self.min - value if self.min is not None else 0.0
        return max(above, below, 0.0)

    def __str__(self) -> str:
        """The bound as a person writes it: `<= 20`."""
        ends = ((">=", self.min), ("<=", self.max))
        return " and ".join(f"{sign} {end:g}" for sign, end in ends if end is not None)

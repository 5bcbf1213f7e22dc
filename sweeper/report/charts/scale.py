"""From values to places on an axis, and the round values that are named on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

_ROUND: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_PADDING: Final = 0.04
"""Of the range, beyond the smallest and the largest value: a mark at the edge is whole."""


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis."""

    low: float
    high: float
    start: float
    """The place of `low`."""
    end: float
    """The place of `high`."""
    log: bool = False
    whole: bool = False
    """Whether only whole numbers are named."""

    @classmethod
    def over(
        cls, values: Iterable[float], *, between: tuple[float, float], log: bool = False, whole: bool = False
    ) -> Self:
        """Returns an axis that has room for all values.

        Args:
            values: at least one; with `log`, above 0.
            between: the places of both ends.
            log: every order of magnitude takes the same room.
            whole: only whole numbers are named.
        """
        known = list(values)
        low, high = min(known), max(known)
        if log:
            pad = (high / low) ** _PADDING if high > low else 2.0
            return cls(low / pad, high * pad, *between, log=True, whole=whole)
        pad = _PADDING * (high - low) if high > low else max(abs(high) * _PADDING, 1e-3)
        return cls(low - pad, high + pad, *between, whole=whole)

    def __call__(self, value: float) -> float:
        """Returns the place of a value."""
        low, high = self._linear(self.low), self._linear(self.high)
        return self.start + (self._linear(value) - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """Returns about `count` round values within the axis, in order; at least one where there is any."""
        found = _log_ticks(self.low, self.high, count) if self.log else _linear_ticks(self.low, self.high, count)
        return [value for value in found if value == round(value)] if self.whole else found

    def _linear(self, value: float) -> float:
        return math.log(value) if self.log else value


@dataclass(frozen=True)
class Names:
    """An axis of names, in equal steps."""

    names: Sequence[str]
    start: float
    end: float

    def __call__(self, name: str) -> float:
        """Returns the place of a name: the middle of its step."""
        step = (self.end - self.start) / len(self.names)
        return self.start + (self.names.index(name) + 0.5) * step


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in _ROUND if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) >= min(3, count):
            break
    step = math.ceil(len(found) / count) if found else 1
    return found[::step]

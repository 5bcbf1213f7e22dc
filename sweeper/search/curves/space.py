"""The declared space as numbers: a unit cube to draw from and features to compare points by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeper.records import ParamValue
from sweeper.search.advice import Point
from sweeper.spec.space import Choice, Fixed, IntUniform, LogInt, LogUniform, Parameter
from sweeper.spec.sweep import SweepSpec

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NEUTRAL: Final = 0.5


@dataclass(frozen=True)
class Axis:
    """One parameter of one scope: a coordinate of the cube, and the columns it becomes as a feature."""

    name: str
    """As the file writes it."""
    scoped_name: str
    """As Optuna knows it."""
    parameter: Parameter
    backbones: frozenset[str | None]
    """Those whose trials have it."""

    @property
    def options(self) -> tuple[ParamValue, ...] | None:
        """The values of a parameter without an order, None for a number."""
        return self.parameter.ends if isinstance(self.parameter, (Choice, Fixed)) else None

    @property
    def width(self) -> int:
        """Feature columns: one for a number, one an option for a choice, none where there is no choice."""
        if self.options is None:
            return 1
        return len(self.options) if len(self.options) > 1 else 0

    @cached_property
    def _span(self) -> tuple[float, float]:
        low, high = (float(end) for end in self.parameter.ends)  # type: ignore[arg-type]
        # A whole number owns half a step on either side, so that the outermost are as likely as the others.
        half = 0.5 if isinstance(self.parameter, IntUniform) else 0.0
        low, high = low - half, high + half
        if isinstance(self.parameter, (LogUniform, LogInt)):
            return float(np.log(low)), float(np.log(high))
        return low, high

    def coordinate(self, value: ParamValue) -> float:
        """Returns where `value` lies in [0, 1]; NaN for a value that the parameter does not have."""
        if not self.parameter.contains(value):
            return float("nan")
        if self.options is not None:
            return (self.options.index(value) + 0.5) / len(self.options)
        low, high = self._span
        number = float(value)  # type: ignore[arg-type]
        return ((np.log(number) if isinstance(self.parameter, (LogUniform, LogInt)) else number) - low) / (high - low)

    def value(self, coordinate: float) -> ParamValue:
        """Returns the value at a coordinate in [0, 1]."""
        if self.options is not None:
            return self.options[min(int(coordinate * len(self.options)), len(self.options) - 1)]
        low, high = self._span
        number = low + coordinate * (high - low)
        if isinstance(self.parameter, (LogUniform, LogInt)):
            number = float(np.exp(number))
        bottom, top = (float(end) for end in self.parameter.ends)  # type: ignore[arg-type]
        inside = min(max(number, bottom), top)
        return round(inside) if isinstance(self.parameter, IntUniform) else inside

    def snapped(self, coordinates: Floats) -> Floats:
        """Returns the coordinates of the values that the given ones stand for."""
        if self.options is not None:
            count = len(self.options)
            return (np.minimum(np.floor(coordinates * count), count - 1) + 0.5) / count
        if not isinstance(self.parameter, IntUniform):
            return coordinates
        low, high = self._span
        numbers = low + coordinates * (high - low)
        first, last = self.parameter.ends
        if not isinstance(self.parameter, LogInt):
            return (np.clip(np.round(numbers), first, last) - low) / (high - low)
        return (np.log(np.clip(np.round(np.exp(numbers)), first, last)) - low) / (high - low)


class Space:
    """Every parameter of every backbone, side by side.

    A point is a row of coordinates in [0, 1], one a parameter, NaN for one that does not apply or is not known.
    """

    def __init__(self, spec: SweepSpec) -> None:
        found: dict[str, Axis] = {}
        for backbone in spec.backbones or (None,):
            for scoped in spec.parameters(backbone):
                known = found.get(scoped.scoped_name)
                backbones = (known.backbones if known else frozenset()) | {backbone}
                found[scoped.scoped_name] = Axis(scoped.name, scoped.scoped_name, scoped.parameter, backbones)
        self.axes: Final = tuple(found.values())
        self._backbone = spec.backbone
        self._columns = np.cumsum([0, *(axis.width for axis in self.axes)])
        # Optuna's and the file's: a value stored long ago is looked up by either.
        self._by_name: dict[str, list[int]] = {}
        for index, axis in enumerate(self.axes):
            self._by_name.setdefault(axis.name, []).append(index)
        self._parents = [[(parent, allowed) for parent, allowed in axis.parameter.when.items()] for axis in self.axes]

    @property
    def groups(self) -> NDArray[np.intp]:
        """Which parameter a feature column belongs to, by the file's names.

        `lr` of two backbones shares no value, but how fast accuracy changes with it is much the same.
        """
        names = list(self._by_name)
        return np.repeat([names.index(axis.name) for axis in self.axes], [axis.width for axis in self.axes])

    def coordinates(self, points: Sequence[Point]) -> Floats:
        """Returns the points as rows of the cube, [points, parameters]."""
        rows = np.full((len(points), len(self.axes)), np.nan)
        for row, point in zip(rows, points, strict=True):
            backbone = point.get("backbone", self._backbone)
            for index, axis in enumerate(self.axes):
                if axis.name in point and (backbone in axis.backbones or backbone is None):
                    row[index] = axis.coordinate(point[axis.name])
        return rows

    def holds(self, point: Point) -> bool:
        """Whether no value of a point lies outside; values of parameters that are not here do not matter."""
        backbone = point.get("backbone", self._backbone)
        return all(
            axis.parameter.contains(point[axis.name])
            for axis in self.axes
            if axis.name in point and (backbone in axis.backbones or backbone is None)
        )

    def point(self, row: Floats) -> dict[str, ParamValue]:
        """Returns a row's values by the file's names, those that apply."""
        return {
            axis.name: axis.value(x) for axis, x in zip(self.axes, row.tolist(), strict=True) if x == x
        }  # fmt: skip

    def scoped_values(self, row: Floats) -> dict[str, ParamValue]:
        """Returns a row's values by Optuna's names, those that apply."""
        return {
            axis.scoped_name: axis.value(x) for axis, x in zip(self.axes, row.tolist(), strict=True) if x == x
        }  # fmt: skip

    def settled(self, rows: Floats, given: Mapping[str, ParamValue] | None = None) -> Floats:
        """Returns drawn rows as points that can be: whole steps, values given in advance, conditions respected.

        Args:
            rows: coordinates without gaps, [points, parameters].
            given: values by Optuna's names that are fixed.
        """
        snapped = np.empty_like(rows)
        for index, axis in enumerate(self.axes):
            if given and axis.scoped_name in given:
                snapped[:, index] = axis.coordinate(given[axis.scoped_name])
            else:
                snapped[:, index] = axis.snapped(rows[:, index])
        active: dict[int, Flags] = {}
        for index in range(len(self.axes)):
            self._activate(index, snapped, active)
        return np.where(np.stack([active[index] for index in range(len(self.axes))], axis=1), snapped, np.nan)

    def _activate(self, index: int, rows: Floats, active: dict[int, Flags]) -> Flags:
        if index in active:
            return active[index]
        axis = self.axes[index]
        flags = np.ones(len(rows), dtype=bool)
        if axis.name != "backbone" and "backbone" in self._by_name:
            flags = self._holds("backbone", tuple(axis.backbones), rows, active)
        for parent, allowed in self._parents[index]:
            flags = flags & self._holds(parent, allowed, rows, active)
        active[index] = flags
        return flags

    def _holds(self, name: str, allowed: Sequence[ParamValue], rows: Floats, active: dict[int, Flags]) -> Flags:
        """Whether the parameter called `name` applies and has one of the allowed values, by row."""
        holds = np.zeros(len(rows), dtype=bool)
        for index in self._by_name.get(name, ()):
            wanted = [self.axes[index].coordinate(value) for value in allowed]
            near = np.isclose(rows[:, index, None], [w for w in wanted if w == w], rtol=0, atol=1e-9).any(axis=1)
            holds |= near & self._activate(index, rows, active)
        return holds

    def features(self, rows: Floats) -> Floats:
        """Returns what points are compared by, [points, columns]: numbers as they are, choices one-hot.

        What does not apply is in the middle: the one-hot of its condition says that it is not there.
        """
        features = np.empty((len(rows), self._columns[-1]))
        for index, axis in enumerate(self.axes):
            column = features[:, self._columns[index] : self._columns[index + 1]]
            missing = np.isnan(rows[:, index])
            if axis.options is None:
                column[:, 0] = np.where(missing, _NEUTRAL, rows[:, index])
            elif axis.width:
                chosen = np.where(missing, -1.0, np.floor(rows[:, index] * axis.width))
                column[:] = np.where(missing[:, None], 1 / axis.width, chosen[:, None] == np.arange(axis.width))
        return features

"""What the search has seen: trials as learning curves, and curves as rows for the Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from sweeper.records import TrialState
from sweeper.search.advice import EarlierSweep, EarlierTrial, Point
from sweeper.search.curves.space import Floats
from sweeper.spec.naming import setting_path
from sweeper.spec.resolve import resolve
from sweeper.spec.search import AshaSpec, HyperbandSpec
from sweeper.spec.sweep import SweepSpec

_MOST_ROWS: Final = 600
_MOST_EARLIER_ROWS: Final = 200
# How many values' worth the spread of earlier sweeps counts while this one has only a few.
_SPREAD_WEIGHT: Final = 5


@dataclass(frozen=True)
class Observation:
    """One trial as the search sees it."""

    number: int
    state: TrialState
    point: Point
    reports: tuple[tuple[int, float], ...]
    """(epoch, objective), larger is better, finite, in order."""
    seconds: float | None = None
    """Median seconds an epoch took; None if not known."""
    epochs: int | None = None
    """Of a full training of it, where it began before the sweep's number of epochs was edited."""
    metrics: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """All metrics of each epoch by their names, for sweeps with several objectives or with constraints."""


class Horizon:
    """How far a trial is, as the model counts it: 0 at its first epoch, 1 at its last, even in log epochs."""

    def __init__(self, spec: SweepSpec) -> None:
        names = {s.name for backbone in spec.backbones for s in spec.parameters(backbone)}
        self._names: Final = tuple(name for name in names if setting_path(name) == ("train", "epochs"))
        self._usual = {backbone: resolve(spec, {"backbone": backbone}).train.epochs for backbone in spec.backbones}
        self._backbone = spec.backbone
        ends = [
            int(end)  # type: ignore[arg-type]
            for backbone in spec.backbones
            for s in spec.parameters(backbone)
            if s.name in self._names
            for end in s.parameter.ends
        ]
        lengths = {*self._usual.values(), *ends}
        self.varies: Final = len(lengths) > 1
        """Whether trials have different numbers of epochs."""
        self.most: Final = max(1, *lengths)
        rule = spec.search.stop_rule
        grace, reduction = (
            (rule.grace_epochs, rule.reduction) if isinstance(rule, (AshaSpec, HyperbandSpec)) else (1, 3)
        )
        self.grace: Final = grace
        # The epochs at which trials are compared; those between tell the model next to nothing more.
        self._rungs = {grace * reduction**k for k in range(32) if grace * reduction**k < self.most}

    def is_of(self, seen: Observation) -> bool:
        """Whether a trial is of the length that new trials at its point have."""
        return seen.epochs is None or bool(self._names)

    def epochs(self, point: Point) -> int:
        """Returns the epochs of a full training at a point."""
        for name in self._names:
            if name in point:
                return int(point[name])  # type: ignore[arg-type]
        backbone = point.get("backbone", self._backbone)
        return self._usual.get(str(backbone), self.most)

    def progress(self, share: float) -> float:
        """Returns where a share of a full training lies between the first epoch (0) and the last (1)."""
        return max(0.0, 1 + math.log(share) / math.log(self.most)) if self.most > 1 else 1.0

    def reports(self, seen: Observation) -> list[tuple[float, float]]:
        """Returns (progress, objective) at the epochs that count; objective as `best so far`."""
        full = self.epochs(seen.point)
        last = seen.reports[-1][0] if seen.reports and seen.state.is_finished else full
        kept: list[tuple[float, float]] = []
        best = -math.inf
        for epoch, value in seen.reports:
            best = max(best, value)
            if epoch in self._rungs or epoch >= min(last, full):
                kept.append((self.progress(min(1.0, epoch / full)), best))
        return kept


@dataclass(frozen=True)
class Scale:
    """From the objective to values of mean 0 and variance 1, and back."""

    middle: float
    spread: float

    def to_objective(self, y: float) -> float:
        """Returns a standardised value in the objective's units (larger is better)."""
        return self.middle + self.spread * y


def rows_of(
    horizon: Horizon, seen: Sequence[Observation], other_spread: float | None = None
) -> tuple[list[int], Floats, Floats, Scale]:
    """Returns what this sweep's trials say: which of `seen`, progress, standardised value, and the scale.

    A trial that failed counts as the worst value seen, at the epoch where it failed. Bad values far from
    the others are drawn in: how bad they are must not decide how the good ones compare.

    Args:
        horizon: which epochs count.
        seen: the trials.
        other_spread: standard deviation of earlier sweeps' values, which steadies that of a few trials.
    """
    rows = [
        (index, progress, value)
        for index, trial in enumerate(seen)
        if trial.state is not TrialState.FAILED
        for progress, value in horizon.reports(trial)
    ]
    if rows:
        worst = min(value for _, _, value in rows)
        for index, trial in enumerate(seen):
            if trial.state is TrialState.FAILED:
                epoch = trial.reports[-1][0] if trial.reports else horizon.grace
                rows.append((index, horizon.progress(min(1.0, epoch / horizon.epochs(trial.point))), worst))
    # Most is said by the rows near the end of a training and by young trials.
    rows = sorted(rows, key=lambda row: (row[1], seen[row[0]].number))[-_MOST_ROWS:]
    y, scale = standardised(np.array([value for _, _, value in rows]), other_spread)
    return [index for index, _, _ in rows], np.array([progress for _, progress, _ in rows]), y, scale


def standardised(values: Floats, other_spread: float | None = None) -> tuple[Floats, Scale]:
    """Returns values with the bad tail clipped, of mean 0 and variance 1, and the scale to go back."""
    if not len(values):
        return values, Scale(0.0, other_spread or 1.0)
    median, upper = np.percentile(values, [50, 75])
    if upper > median:
        values = np.maximum(values, median - 2 * (upper - median))
    variance = float(values.var())
    if other_spread is not None:
        size = len(values)
        variance = (size * variance + _SPREAD_WEIGHT * other_spread**2) / (size + _SPREAD_WEIGHT)
    scale = Scale(float(values.mean()), math.sqrt(variance) + 1e-12)
    return (values - scale.middle) / scale.spread, scale


def as_earlier(trials: Sequence[Observation], *, weight: float) -> EarlierSweep:
    """Returns trials of another number of epochs as an earlier sweep: compared among themselves, and believed less.

    Where a training of ten epochs ends is no point of a curve of thirty: its learning rate has come down already.
    """
    told = [
        EarlierTrial(
            params=trial.point,
            reports=tuple((min(1.0, epoch / (trial.epochs or epoch)), value) for epoch, value in trial.reports),
        )
        for trial in trials
        if trial.reports
    ]
    return EarlierSweep(name="before the number of epochs was edited", weight=weight, trials=tuple(told))


def earlier_rows(
    horizon: Horizon, sweep: EarlierSweep, most: int = _MOST_EARLIER_ROWS
) -> tuple[list[Point], Floats, Floats]:
    """Returns an earlier sweep's points, progress and raw values, larger better; the latest in training first."""
    rows = [
        (trial.params, horizon.progress(share), value)
        for trial in sweep.trials
        for share, value in trial.reports
        if math.isfinite(value)
    ]
    rows = sorted(rows, key=lambda row: -row[1])[:most]
    return [r[0] for r in rows], np.array([r[1] for r in rows]), np.array([r[2] for r in rows])

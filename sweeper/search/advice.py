"""What a search is told before its first trial: what trials cost, where good points are, what went before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sweeper.records import ParamValue

Point = Mapping[str, ParamValue]
"""Values by the names the file gives them, inactive parameters left out, as in `Suggestion.params`."""


@dataclass(frozen=True)
class EarlierTrial:
    """One finished or stopped trial of an earlier sweep, in this sweep's parameter names."""

    params: Point
    """What is known of the point; a parameter of this sweep that is missing counts as not known."""
    reports: tuple[tuple[float, float], ...]
    """(share of a full training, in (0, 1]; objective there, better in the direction of this sweep's)."""


@dataclass(frozen=True)
class EarlierSweep:
    """An earlier sweep, perhaps on other images: its values are compared among themselves only."""

    name: str
    weight: float
    """How much like this sweep it is taken to be, in (0, 1]; what it says counts as so much less certain."""
    trials: tuple[EarlierTrial, ...]


@dataclass(frozen=True)
class Advice:
    """What the search may start from; all of it may be empty.

    A resumed sweep must be given the same advice, as its suggestions depend on it.
    """

    cost: Callable[[Point], float] | None = None
    """Predicted seconds an epoch of a point; only the ratios between points matter, the level is measured."""
    log_prior: Callable[[Point], float] | None = None
    """Log density, up to a constant, of a belief where the best point is."""
    earlier: tuple[EarlierSweep, ...] = ()
    """Sweeps to learn from."""
    first_points: tuple[Point, ...] = ()
    """Points worth a trial each; they run after the file's own `points`."""

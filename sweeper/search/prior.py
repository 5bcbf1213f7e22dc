"""What is known before the first trial: for each backbone the beliefs and first points of its family."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from sweeper.errors import SpecError
from sweeper.records import ParamValue
from sweeper.search.advice import Point
from sweeper.spec.load import load_prior
from sweeper.spec.naming import setting_path
from sweeper.spec.prior import BeliefSpec, FirstPointSpec, PriorSpec
from sweeper.spec.resolve import resolve, setting_of
from sweeper.spec.space import Choice, Fixed, IntUniform, LogInt, LogUniform, Parameter
from sweeper.spec.sweep import ScopedParameter, SweepSpec

_SHIPPED: Final = Path(__file__).parent / "priors"
_OPEN: Final = 0.15
"""Share of every belief that is spread evenly over the range: a prior rules nothing out."""
_SHARE_OF_TRIALS: Final = 5
"""First points get at most one trial in so many."""


class Belief(BaseModel):
    """A `BeliefSpec` about one parameter of this sweep."""

    model_config = ConfigDict(frozen=True)

    parameter: str
    """By the name the sweep's file gives it."""
    belief: BeliefSpec


class BackbonePrior(BaseModel):
    """What is believed of one backbone of the sweep."""

    model_config = ConfigDict(frozen=True)

    backbone: str
    family: str
    beliefs: tuple[Belief, ...]
    points: tuple[FirstPointSpec, ...]
    """Restricted to the parameters and ranges of the sweep, in its names."""


def settle_prior(spec: SweepSpec) -> tuple[BackbonePrior, ...]:
    """Returns what `search.prior` says of each backbone; nothing with `none` and for a grid.

    Raises:
        SpecError: a prior file is no such file, or none of them matches a backbone of the sweep.
    """
    if spec.search.prior == "none" or spec.search.sampler == "grid":
        return ()
    shipped = spec.search.prior == "auto"
    folder = _SHIPPED if shipped else Path(spec.search.prior)
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else [folder]
    families = [load_prior(file) for file in files]
    settled = [
        _restricted(spec, backbone, family)
        for backbone in spec.backbones
        # The beliefs are about fine-tuning; what trains from scratch wants other rates.
        if (family := _family_of(backbone, families)) is not None and _weights(spec, backbone) != "random"
    ]
    if not shipped and not any(_family_of(backbone, families) for backbone in spec.backbones):
        names = ", ".join(f"`{name}`" for name in spec.backbones)
        raise SpecError(f"`search.prior` must match a backbone of the sweep, but `{folder}` matches none of {names}.")
    return tuple(prior for prior in settled if prior.beliefs or prior.points)


@lru_cache(maxsize=64)
def family_name(backbone: str) -> str | None:
    """Returns the family that the shipped priors count a backbone to, None if to none."""
    family = _family_of(backbone, [load_prior(file) for file in sorted(_SHIPPED.glob("*.yaml"))])
    return family.family if family is not None else None


def first_points(
    spec: SweepSpec, priors: Sequence[BackbonePrior], ranking: Sequence[str] = ()
) -> tuple[dict[str, ParamValue], ...]:
    """Returns the points that run after the user's own, each backbone's first one before any second.

    Args:
        spec: the sweep; at most a fifth of its trials are spent so.
        priors: of its backbones.
        ranking: backbones, the most promising first; those it leaves out follow.
    """
    places = {backbone: place for place, backbone in enumerate(ranking)}
    ordered = sorted(priors, key=lambda prior: places.get(prior.backbone, len(places)))
    searched = "backbone" in spec.space
    rounds = zip_longest(*([(prior.backbone, one.point) for one in prior.points] for prior in ordered))
    found: list[dict[str, ParamValue]] = []
    for backbone, point in (pair for one_round in rounds for pair in one_round if pair is not None):
        whole = {"backbone": backbone, **point} if searched else dict(point)
        if whole not in found and whole not in spec.points:
            found.append(whole)
    return tuple(found[: spec.search.trials // _SHARE_OF_TRIALS])


class LogPrior:
    """The log density of all beliefs at a point, over that of drawing evenly from the space: 0 is no opinion.

    A range is believed in as a normal distribution, cut off at the sweep's own ends, with `likely` as the
    middle and one standard deviation to both sides; 15 % of every belief is spread evenly.
    """

    def __init__(
        self, spec: SweepSpec, priors: Sequence[BackbonePrior], backbone_weights: Mapping[str, float] | None = None
    ) -> None:
        self._spec = spec
        known = backbone_weights or {}
        mean = sum(known.values()) / len(known) if known else 1.0
        weights = [known.get(name, mean) for name in spec.backbones]
        mean = sum(weights) / len(weights)
        self._backbones = {name: math.log(weight / mean) for name, weight in zip(spec.backbones, weights, strict=True)}
        self._beliefs = {prior.backbone: tuple(_densities(spec, prior)) for prior in priors}

    def __call__(self, point: Point) -> float:
        """Returns the log density at a point, inactive parameters left out."""
        backbone = self._spec.backbone_of(point) or ""
        total = self._backbones.get(backbone, 0.0)
        for name, when, density in self._beliefs.get(backbone, ()):
            if name in point and all(point.get(parent) in allowed for parent, allowed in when):
                total += math.log(_OPEN + (1.0 - _OPEN) * density(point[name]))
        return total


Density = Callable[[ParamValue], float]
"""The density of a value over that of an even draw, so that its mean over the range is 1."""
_Conditions = tuple[tuple[str, tuple[ParamValue, ...]], ...]


def _densities(spec: SweepSpec, prior: BackbonePrior) -> Iterator[tuple[str, _Conditions, Density]]:
    parameters = {scoped.name: scoped.parameter for scoped in spec.parameters(prior.backbone)}
    for one in prior.beliefs:
        yield one.parameter, tuple(one.belief.when.items()), _density(one.belief, parameters[one.parameter])


def _density(belief: BeliefSpec, parameter: Parameter) -> Density:
    values = _listed(parameter)
    if values is not None:
        known = _shares(values, belief)
        return lambda value: known[value]
    scale = _log if isinstance(parameter, (LogUniform, LogInt)) else float
    low, high = (scale(end) for end in parameter.ends)  # type: ignore[arg-type] # a range's ends are numbers
    assert belief.likely is not None
    left, right = (scale(end) for end in belief.likely)
    middle, spread = (left + right) / 2, (right - left) / 2
    from scipy.special import ndtr  # takes long to import; a command that only reads does not need it

    inside = float(ndtr((high - middle) / spread) - ndtr((low - middle) / spread))
    peak = (high - low) / (spread * math.sqrt(2 * math.pi) * inside)
    return lambda value: peak * math.exp(-0.5 * ((scale(float(value or 0.0)) - middle) / spread) ** 2)


def _listed(parameter: Parameter) -> Sequence[ParamValue] | None:
    """Returns all values of a parameter that has only so many, each as likely as any other."""
    if isinstance(parameter, IntUniform) and not isinstance(parameter, LogInt):
        low, high = parameter.ends
        return range(low, high + 1)
    return parameter.ends if isinstance(parameter, (Choice, Fixed)) else None


def _shares(values: Sequence[ParamValue], belief: BeliefSpec) -> dict[ParamValue, float]:
    """Returns the density of each of a finite number of values."""
    if belief.likely is None:
        raw = [belief.weights.get(str(value), 1.0) for value in values]
    else:
        numbers = [float(value or 0.0) for value in values]
        scale = _log if min(*numbers, *belief.likely) > 0.0 and max(numbers) >= 8 * min(numbers) else float
        left, right = (scale(end) for end in belief.likely)
        middle, spread = (left + right) / 2, (right - left) / 2
        raw = [math.exp(-0.5 * ((scale(number) - middle) / spread) ** 2) for number in numbers]
    mean = sum(raw) / len(raw)
    return {value: share / mean for value, share in zip(values, raw, strict=True)}


def _log(value: float) -> float:
    return math.log(value)


def _weights(spec: SweepSpec, backbone: str) -> str:
    return resolve(spec, {"backbone": backbone}).weights


def _family_of(backbone: str, families: Sequence[PriorSpec]) -> PriorSpec | None:
    matching = [
        (len(pattern), family) for family in families for pattern in family.match if fnmatchcase(backbone, pattern)
    ]
    return max(matching, key=lambda item: item[0])[1] if matching else None


def _restricted(spec: SweepSpec, backbone: str, family: PriorSpec) -> BackbonePrior:
    """Returns what of a family's prior this sweep can use for one of its backbones."""
    parameters = {setting_path(scoped.name): scoped for scoped in spec.parameters(backbone)}
    beliefs: dict[tuple[str, ...] | None, Belief] = {}
    for name, belief in family.beliefs.items():
        scoped = parameters.get(setting_path(name))
        when = _open_conditions(spec, backbone, belief)
        if scoped is not None and when is not None and _fits(belief, scoped.parameter):
            settled = belief.model_copy(update={"when": when})
            beliefs[setting_path(name)] = Belief(parameter=scoped.name, belief=settled)
    points = []
    for one in family.points:
        values = {
            scoped.name: value
            for name, value in one.point.items()
            if (scoped := parameters.get(setting_path(name))) is not None
            and scoped.parameter.contains(value)
            and (name not in family.beliefs or _open_conditions(spec, backbone, family.beliefs[name]) is not None)
        }
        if values:
            points.append(FirstPointSpec(point=values, source=one.source))
    return BackbonePrior(backbone=backbone, family=family.family, beliefs=tuple(beliefs.values()), points=tuple(points))


def _open_conditions(spec: SweepSpec, backbone: str, belief: BeliefSpec) -> dict[str, tuple[ParamValue, ...]] | None:
    """Returns the conditions that depend on what a point says; None where a fixed setting breaks one."""
    searched: dict[tuple[str, ...] | None, ScopedParameter] = {
        setting_path(scoped.name): scoped for scoped in spec.parameters(backbone)
    }
    config = resolve(spec, {"backbone": backbone})
    still_open: dict[str, tuple[ParamValue, ...]] = {}
    for name, allowed in belief.when.items():
        path = setting_path(name)
        if path in searched:
            still_open[searched[path].name] = allowed
        elif setting_of(config, path) not in allowed:
            return None
    return still_open


def _fits(belief: BeliefSpec, parameter: Parameter) -> bool:
    """Whether a belief can say anything of a parameter: ranges overlap, options are among those named."""
    if isinstance(parameter, Fixed):
        return False
    if belief.likely is None:
        return isinstance(parameter, Choice) and any(str(value) in belief.weights for value in parameter.options)
    numbers = [end for end in parameter.ends if isinstance(end, (int, float)) and not isinstance(end, bool)]
    if len(numbers) != len(parameter.ends):
        return False
    if isinstance(parameter, (LogUniform, LogInt)) and belief.likely[0] <= 0.0:
        return False
    return min(numbers) <= belief.likely[1] and belief.likely[0] <= max(numbers)

"""One trial asks Optuna for each parameter that applies to it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from sweeper.records import ParamValue
from sweeper.spec.space import Choice, Fixed, IntUniform, LogInt, LogUniform, Parameter, Uniform
from sweeper.spec.sweep import SweepSpec

_ASIDE = re.compile("[@#]")
"""What follows is not the file's: the override a parameter comes from, and how often its kind changed."""

Names = Callable[[str], str]
"""From a parameter's name with its scope to its name in the study."""


def same(name: str) -> str:
    """Returns the name: that of a parameter in a study that was never edited."""
    return name


def suggest_point(trial: Trial, spec: SweepSpec, names: Names = same) -> dict[str, ParamValue]:
    """Returns the values of the parameters that apply, asked for in the order of their conditions.

    Calling it again for a trial that has all its values returns those.
    """
    chosen: dict[str, ParamValue] = {}
    asked: set[str] = set()
    while waiting := [s for s in spec.parameters(spec.backbone_of(chosen)) if s.name not in asked]:
        scoped = waiting[0]
        asked.add(scoped.name)
        if scoped.parameter.applies(chosen):
            chosen[scoped.name] = _suggest(trial, names(scoped.scoped_name), scoped.parameter)
    return chosen


def forget_point(trial: Trial) -> None:
    """Makes a trial with some values ask for all of them anew.

    Drawn from the first one on they are what they would have been without the interruption. Values that were kept
    would leave the random numbers they took to those that come after them.
    """
    undrawn = copy.copy(trial._cached_frozen_trial)
    undrawn.params, undrawn.distributions = {}, {}
    trial._cached_frozen_trial = undrawn


def unscoped(params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Returns Optuna's parameters by the names the file gives them: `lr@maxvit*` is `lr` again, and so is `lr#2`."""
    return {_ASIDE.split(name, maxsplit=1)[0]: value for name, value in params.items()}


def scoped_point(spec: SweepSpec, point: Mapping[str, ParamValue], names: Names = same) -> dict[str, ParamValue]:
    """Returns a seed point by Optuna's names, as `enqueue_trial` wants it.

    A point that leaves the backbone open gives its values under the names of every backbone that has them.
    """
    chosen = spec.backbone_of(point)
    scoped = {
        s.scoped_name: s for backbone in ([chosen] if chosen else spec.backbones) for s in spec.parameters(backbone)
    }
    return {
        names(scoped_name): point[s.name]
        for scoped_name, s in scoped.items()
        if s.name in point and s.parameter.contains(point[s.name])
    }


def _suggest(trial: Trial, name: str, parameter: Parameter) -> ParamValue:
    if isinstance(parameter, Fixed):
        return parameter.value
    asked = distribution(parameter)
    if isinstance(asked, CategoricalDistribution):
        value: ParamValue = trial.suggest_categorical(name, asked.choices)
        return value
    if isinstance(asked, IntDistribution):
        return trial.suggest_int(name, asked.low, asked.high, log=asked.log)
    assert isinstance(asked, FloatDistribution)
    return trial.suggest_float(name, asked.low, asked.high, log=asked.log)


def distribution(parameter: Uniform | LogUniform | IntUniform | LogInt | Choice) -> BaseDistribution:
    """Returns what Optuna is told of a parameter."""
    match parameter:
        case Choice():
            return CategoricalDistribution(parameter.options)
        case LogInt() | IntUniform():
            return IntDistribution(*parameter.ends, log=isinstance(parameter, LogInt))
        case _:
            return FloatDistribution(*parameter.ends, log=isinstance(parameter, LogUniform))

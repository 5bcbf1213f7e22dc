"""Earlier trials, matched to this sweep's parameters by name and range."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.study import StudyDirection
from pydantic import BaseModel, ConfigDict

from sweeper.errors import InputError
from sweeper.records import METRICS, ParamValue, PastTrial
from sweeper.search.point import unscoped
from sweeper.search.storage import open_storage, without_password
from sweeper.spec.naming import setting_path
from sweeper.spec.space import Choice, Fixed, IntUniform, Parameter
from sweeper.spec.sweep import SweepSpec

_SettingPath = tuple[str, ...] | None


class MatchedTrial(BaseModel):
    """An earlier trial as a point of this sweep."""

    model_config = ConfigDict(frozen=True)

    params: dict[str, ParamValue]
    """By this sweep's names."""
    reports: tuple[tuple[float, float], ...]
    """(share of a full training, objective), better in the direction of this sweep's."""
    backbone: str | None


class Matching(BaseModel):
    """What of an earlier search this one can use."""

    model_config = ConfigDict(frozen=True)

    trials: tuple[MatchedTrial, ...]
    skipped: dict[str, int]
    """Trials that cannot be used, by the parameter that they have no value for here, or `backbone` or `objective`."""
    not_searched: tuple[str, ...]
    """Parameters of the earlier search that this one does not have; their values are dropped."""


def match(spec: SweepSpec, past: Sequence[PastTrial]) -> Matching:
    """Returns the earlier trials that are points of this sweep.

    Names are the same where they mean the same setting (`lr`, `train.lr`). A trial counts where each parameter
    that applies at its point has a value within this sweep's range; what the earlier search had besides is left out.
    """
    trials: list[MatchedTrial] = []
    skipped: Counter[str] = Counter()
    known = {setting_path(s.name) for backbone in spec.backbones for s in spec.parameters(backbone)}
    others = {name for trial in past for name in trial.searched if setting_path(name) not in known}
    for trial in past:
        found, missing = _point(spec, {setting_path(name): value for name, value in trial.settings.items()})
        reports = tuple(
            (min(1.0, epoch / trial.epochs), value) for epoch, value in trial.values if math.isfinite(value)
        )
        if missing or not reports:
            skipped[missing or "objective"] += 1
        else:
            backbone = trial.settings.get("backbone")
            trials.append(MatchedTrial(params=found, reports=reports, backbone=str(backbone) if backbone else None))
    return Matching(trials=tuple(trials), skipped=dict(skipped), not_searched=tuple(sorted(others)))


def read_study(url: str, name: str, objective: str) -> tuple[PastTrial, ...]:
    """Returns the trials of an Optuna study.

    Its parameters are called as the settings are, its value or intermediate values are the objective, a step is an
    epoch.

    Raises:
        InputError: the storage cannot be opened, has no such study, or the study goes the other way.
    """
    storage = open_storage(url, setting="search.warm_start")
    if name not in (names := optuna.get_all_study_names(storage)):
        listed = ", ".join(f"`{one}`" for one in names) or "none"
        raise InputError(f"`{without_password(url)}` must have the study `{name}`, but it has {listed}.")
    study = optuna.load_study(study_name=name, storage=storage)
    larger = METRICS[objective].higher_is_better
    if (study.direction is StudyDirection.MAXIMIZE) is not larger:
        wanted = "maximise" if larger else "minimise"
        raise InputError(f"A warm start of `{objective}` needs a study that does {wanted} it, but `{name}` does not.")
    past = []
    for trial in study.get_trials(deepcopy=False):
        values = sorted(trial.intermediate_values.items())
        if not values and trial.value is not None:
            values = [(1, trial.value)]
        if values and trial.params:
            settings = unscoped(trial.params)
            past.append(
                PastTrial(
                    settings=settings, searched=tuple(settings), values=tuple(values), epochs=max(1, values[-1][0])
                )
            )
    longest = max((trial.epochs for trial in past), default=1)
    return tuple(trial.model_copy(update={"epochs": longest}) for trial in past)


def _point(spec: SweepSpec, values: Mapping[_SettingPath, Any]) -> tuple[dict[str, ParamValue], str]:
    """Returns the point, and the first parameter that has no value for it."""
    chosen: dict[str, ParamValue] = {}
    asked: set[str] = set()
    while waiting := [s for s in spec.parameters(spec.backbone_of(chosen)) if s.name not in asked]:
        scoped = waiting[0]
        asked.add(scoped.name)
        if isinstance(scoped.parameter, Fixed):
            chosen[scoped.name] = scoped.parameter.value
        elif scoped.parameter.applies(chosen):
            path = setting_path(scoped.name)
            value = _as_value(values[path], scoped.parameter) if path in values else None
            if value is None or not scoped.parameter.contains(value):
                return chosen, scoped.name
            chosen[scoped.name] = value
    return chosen, ""


def _as_value(value: Any, parameter: Parameter) -> ParamValue:
    """Returns a value as the parameter would have it: MLflow keeps text, JSON whole numbers as reals."""
    if isinstance(parameter, Choice):
        return next((option for option in parameter.options if option == value or str(option) == str(value)), None)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if isinstance(parameter, IntUniform) and number == int(number) else number

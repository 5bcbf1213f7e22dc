"""A sweep and a point become a TrialConfig: the only place where values are put into sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.errors import SpecError, nearest
from sweeper.records import ParamValue
from sweeper.spec.naming import assign, setting_names, setting_path
from sweeper.spec.sweep import SweepSpec
from sweeper.spec.trial import TrialConfig


def resolve(spec: SweepSpec, params: Mapping[str, ParamValue]) -> TrialConfig:
    """Returns the complete settings of a trial at a point of the space.

    Later wins: the file's sections, then the overrides of the point's backbone, then the point.

    Args:
        spec: the sweep.
        params: values by the names of the space, as in `Suggestion.params`.

    Raises:
        SpecError: a name is no setting, or runs through one that is a plain value.
        pydantic.ValidationError: a value breaks the rule of its field.
    """
    settings: dict[str, Any] = spec.model_dump(
        include={"weights", "backbone_args", "data", "head", "train", "augment", "eval", "seed"}
    )
    settings["objective"] = spec.search.objective
    backbone = spec.backbone_of(params)
    _assign_all(settings, {"backbone": backbone})
    for _, override in spec.matching_overrides(backbone):
        _assign_all(settings, override.set)
    _assign_all(settings, params)
    return TrialConfig.model_validate(settings)


def setting_of(config: TrialConfig, path: tuple[str, ...] | None) -> Any:
    """Returns a trial's setting at a path of `setting_path`; None where the trial has no such setting."""
    value: Any = config
    for key in path or ():
        value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    return value


def most_epochs(spec: SweepSpec) -> int:
    """Returns the most epochs any trial may run."""
    longest = 0
    for backbone in spec.backbones:
        point: dict[str, ParamValue] = {"backbone": backbone}
        longest = max(longest, resolve(spec, point).train.epochs)
        for scoped in spec.parameters(backbone):
            if setting_path(scoped.name) == ("train", "epochs"):
                trials = (resolve(spec, {**point, scoped.name: value}) for value in scoped.parameter.ends)
                longest = max(longest, *(trial.train.epochs for trial in trials))
    return longest


def _assign_all(settings: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        path = setting_path(name)
        if path is None:
            raise SpecError(f"`{name}` is not a setting{nearest(name, setting_names()) or '.'}")
        assign(settings, path, value)

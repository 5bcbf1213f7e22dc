"""Earlier searches that a sweep learns from: read, matched and weighed once, before its first trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import mean
from typing import Final

from pydantic import BaseModel, ConfigDict

from sweeper.data import Prepared, read_prepared
from sweeper.errors import SpecError
from sweeper.folder import find_sweep, read_spec
from sweeper.paths import Workspace
from sweeper.records import ParamValue, PastTrial
from sweeper.search import (
    EarlierSweep,
    EarlierTrial,
    Matching,
    family_name,
    match,
    open_ledger,
    read_study,
    storage_url,
)
from sweeper.spec import SweepSpec, resolve
from sweeper.spec.naming import setting_names, setting_path
from sweeper.spec.resolve import setting_of
from sweeper.spec.warm_start import WarmStartSpec

_OTHER_DATA: Final = 0.5
"""Weight of a search on other images at most; those of unlike numbers of classes and images have less."""
_UNKNOWN_DATA: Final = 0.25
_SAME_FAMILY: Final = 0.7
_OTHER_FAMILY: Final = 0.4
_LEAST: Final = 0.05


class EarlierSearch(BaseModel):
    """One earlier search as this sweep uses it; its rows are kept, so that it may go on or vanish meanwhile."""

    model_config = ConfigDict(frozen=True)

    name: str
    weight: float
    """In (0, 1]: how much like this sweep it is taken to be."""
    why: str
    """How the weight came about."""
    matching: Matching

    def for_search(self) -> EarlierSweep:
        """Returns it as the search takes it."""
        trials = tuple(EarlierTrial(params=one.params, reports=one.reports) for one in self.matching.trials)
        return EarlierSweep(name=self.name, weight=self.weight, trials=trials)

    @property
    def sentence(self) -> str:
        """Says what is used of it."""
        matching = self.matching
        total = len(matching.trials) + sum(matching.skipped.values())
        left_out = [f"{count} without a value for `{name}` here" for name, count in matching.skipped.items()]
        dropped = [f"`{name}` is not searched here" for name in matching.not_searched]
        more = "".join(f"; {part}" for part in [*left_out, *dropped])
        used = f"{len(matching.trials)} of {total} trials of `{self.name}`"
        return f"warm start: {used}, weight {self.weight:.2f} ({self.why}){more}"


def earlier_searches(spec: SweepSpec, workspace: Workspace, prepared: Prepared) -> tuple[EarlierSearch, ...]:
    """Returns what `search.warm_start` names, matched to this sweep's space and weighed by likeness.

    Raises:
        SpecError: no trial of an earlier search is a point of this space.
        InputError: a sweep, a study or its storage is not there.
        TrackingError: MLflow has no such experiment, or does not answer.
    """
    return tuple(_read(spec, source, workspace, prepared) for source in spec.search.warm_start)


def _read(spec: SweepSpec, source: WarmStartSpec, workspace: Workspace, prepared: Prepared) -> EarlierSearch:
    past, data = _past(spec, source, workspace)
    matching = match(spec, past)
    if not matching.trials:
        reasons = ", ".join(f"{count} have no value for `{name}`" for name, count in matching.skipped.items())
        raise SpecError(
            f"A warm start needs earlier trials that are points of this space, but of the {len(past)} of "
            f"`{source.label}` none is{f' ({reasons})' if reasons else ''}; leave it out, or widen the ranges."
        )
    weight, why = _likeness(spec, matching, data, prepared)
    if source.weight is not None:
        weight, why = source.weight, "as the file says"
    return EarlierSearch(name=source.label, weight=weight, why=why, matching=matching)


def _past(
    spec: SweepSpec, source: WarmStartSpec, workspace: Workspace
) -> tuple[tuple[PastTrial, ...], Prepared | str | None]:
    """Returns the trials of a source, and what is known of its images: all, a fingerprint, or nothing."""
    objective = spec.search.objective
    if source.study is not None:
        return read_study(source.study, source.name or "", objective), None
    if source.mlflow is not None:
        from sweeper.tracking.history import read_experiment

        return read_experiment(source.mlflow, source.experiment or "", objective)
    paths = find_sweep(workspace, source.sweep or "")
    earlier = read_spec(paths)
    records = open_ledger(earlier, storage_url(earlier, paths), create=False).records()
    past = []
    for record in records:
        values = tuple((epoch.epoch, epoch.value(objective)) for epoch in record.epochs)
        if values:
            settings, epochs = _settings(earlier, record.params)
            past.append(PastTrial(settings=settings, searched=tuple(record.params), values=values, epochs=epochs))
    return tuple(past), read_prepared(paths)


def _settings(earlier: SweepSpec, params: Mapping[str, ParamValue]) -> tuple[dict[str, ParamValue], int]:
    """Returns all settings of a trial, those that were not searched too, and its number of epochs."""
    config = resolve(earlier, params)
    found: dict[str, ParamValue] = {}
    for name in setting_names():
        value = setting_of(config, setting_path(name))
        if value is None or isinstance(value, (str, int, float, bool)):
            found[name] = value
    return {**found, **params}, config.train.epochs


def _likeness(
    spec: SweepSpec, matching: Matching, data: Prepared | str | None, prepared: Prepared
) -> tuple[float, str]:
    of_data, why_data = _likeness_of_data(data, prepared)
    of_backbones = [_likeness_of_backbone(spec, trial.backbone) for trial in matching.trials]
    why_backbone = {1.0: "same backbone", _SAME_FAMILY: "same family", _OTHER_FAMILY: "another family"}
    kinds = " and ".join(dict.fromkeys(why_backbone[one] for one in sorted(of_backbones, reverse=True)))
    return max(_LEAST, round(of_data * mean(of_backbones), 4)), f"{why_data}, {kinds}"


def _likeness_of_data(data: Prepared | str | None, prepared: Prepared) -> tuple[float, str]:
    if data is None:
        return _UNKNOWN_DATA, "unknown images"
    fingerprint = data if isinstance(data, str) else data.data_fingerprint
    if fingerprint == prepared.data_fingerprint:
        return 1.0, "same images"
    if isinstance(data, str):
        return _UNKNOWN_DATA, "other images"
    classes = _ratio(len(data.classes), len(prepared.classes))
    images = _ratio(data.images.get("train", 0), prepared.images.get("train", 0))
    return _OTHER_DATA * math.sqrt(classes * images), f"other images, {len(data.classes)} classes"


def _likeness_of_backbone(spec: SweepSpec, backbone: str | None) -> float:
    if backbone is None or backbone in spec.backbones:
        return 1.0
    family = family_name(backbone)
    same = family is not None and any(family_name(own) == family for own in spec.backbones)
    return _SAME_FAMILY if same else _OTHER_FAMILY


def _ratio(one: int, other: int) -> float:
    return min(one, other) / max(one, other, 1)

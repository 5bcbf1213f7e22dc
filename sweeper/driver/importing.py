"""A study of somebody else becomes a sweep here: to be ranked, reported, and learned from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.errors import InputError
from sweeper.folder import require_new, write_folder
from sweeper.paths import SweepPaths, Workspace
from sweeper.records import METRICS, EpochMetrics, ParamValue, PastTrial
from sweeper.search import Matching, match, open_ledger, read_study, require_no_ledger, storage_url
from sweeper.spec import SweepSpec, resolve

_UNKNOWN = math.nan


@dataclass(frozen=True)
class Foreign:
    """Where earlier trials are: an Optuna study or an MLflow experiment."""

    url: str
    """Of Optuna's storage or of MLflow."""
    name: str
    """Of the study or the experiment."""
    is_mlflow: bool


def import_sweep(
    spec: SweepSpec, source: Foreign, workspace: Workspace, *, renamed: Mapping[str, str]
) -> tuple[SweepPaths, Matching]:
    """Makes a finished sweep of the trials of a study that are points of a search space.

    Of an epoch only the objective is known; every other metric is not a number.

    Args:
        spec: the search space; its name is the new sweep's, its objective what the study's values are.
        source: the study.
        workspace: where the sweep is made.
        renamed: our names of the study's parameters, by theirs.

    Returns:
        The sweep's folder, and which trials were taken and why others were not.

    Raises:
        InputError: the sweep exists, the study cannot be read, or none of its trials is a point of the space.
        TrackingError: MLflow has no such experiment, or does not answer.
    """
    paths = require_new(workspace, spec.name)
    require_no_ledger(spec, storage_url(spec, paths))
    matching = match(spec, [_renamed(one, renamed) for one in _read(spec, source)])
    if not matching.trials:
        reasons = ", ".join(f"{count} have no value for `{name}`" for name, count in matching.skipped.items())
        raise InputError(
            f"An import needs trials that are points of the space, but `{source.name}` has none"
            f"{f' ({reasons})' if reasons else ''}; rename its parameters with `--map theirs=ours`, or widen "
            "the ranges."
        )
    points = tuple(one.params for one in matching.trials)
    search = spec.search.model_copy(update={"trials": len(points), "warm_start": (), "confirm": None})
    made = spec.model_copy(update={"points": points, "search": search})
    write_folder(paths, made, source=None)
    # All values of a point are given: nothing is to be modelled for it.
    drawn = made.model_copy(update={"search": search.model_copy(update={"sampler": "random", "stop": "none"})})
    ledger = open_ledger(drawn, storage_url(made, paths), create=True)
    for trial in matching.trials:
        suggestion = ledger.ask()
        assert suggestion is not None
        for epoch in _epochs(made, suggestion.params, trial.reports):
            ledger.report(suggestion.number, epoch, is_last=True)
        ledger.complete(suggestion.number)
    return paths, matching


def _read(spec: SweepSpec, source: Foreign) -> tuple[PastTrial, ...]:
    if not source.is_mlflow:
        return read_study(source.url, source.name, spec.search.objective)
    from sweeper.tracking.history import read_experiment

    return read_experiment(source.url, source.name, spec.search.objective)[0]


def _renamed(trial: PastTrial, renamed: Mapping[str, str]) -> PastTrial:
    return trial.model_copy(
        update={
            "settings": {renamed.get(name, name): value for name, value in trial.settings.items()},
            "searched": tuple(renamed.get(name, name) for name in trial.searched),
        }
    )


def _epochs(
    spec: SweepSpec, params: Mapping[str, ParamValue], reports: tuple[tuple[float, float], ...]
) -> list[EpochMetrics]:
    """Returns the reports as epochs of a training of ours, by their share of it; of several in one the last counts."""
    total, objective = resolve(spec, params).train.epochs, METRICS[spec.search.objective].name
    values = {max(1, round(share * total)): value for share, value in reports}
    unknown = dict.fromkeys(
        ("top1", "top5", "macro_f1", "balanced_accuracy", "val_loss", "train_loss", "lr", "images_per_second"), _UNKNOWN
    )
    return [
        EpochMetrics.model_validate(
            {**unknown, "train_seconds": 0.0, "eval_seconds": 0.0, "peak_memory_mb": _UNKNOWN, "epoch": epoch}
            | {objective: value}
        )
        for epoch, value in sorted(values.items())
    ]

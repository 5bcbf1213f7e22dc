"""How a trial's record looks in MLflow: its run's name, status, parameters, metrics and tags.

Everything here follows from the record alone, times included, so writing it a second time gives the same
rows, which MLflow drops.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sweeper.records import METRICS, EpochMetrics, ParamValue, TrialRecord, TrialState
from sweeper.spec import TrialConfig

PARENT_TAG: Final = "mlflow.parentRunId"
SWEEP_TAG: Final = "sweeper.sweep_id"
TRIAL_TAG: Final = "sweeper.trial"
EPOCH_KEY: Final = "epoch"
"""The metric that tells how many epochs a run has: its last value."""

# MLflow's own limits on what one entry may hold, in characters.
_PARAM_CHARACTERS: Final = 6000
_TAG_CHARACTERS: Final = 8000


class RunStatus(StrEnum):
    """The statuses of an MLflow run, in MLflow's words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    time_ms: int


def run_status(record: TrialRecord) -> RunStatus:
    """Returns the run's status; a trial that the stop rule ended did its work, so it is FINISHED."""
    if record.state is TrialState.FAILED:
        return RunStatus.FAILED
    return RunStatus.FINISHED if record.state.is_finished else RunStatus.RUNNING


def run_name(record: TrialRecord, config: TrialConfig | None) -> str:
    """Returns a name to tell trials apart by, such as `trial-007 davit_tiny lr=2.1e-04`.

    The learning rate is shown where it is searched, else the first parameter that is.
    """
    backbone = config.backbone if config else record.params.get("backbone")
    shown = {name.rpartition(".")[2]: value for name, value in record.params.items() if name != "backbone"}
    key = "lr" if "lr" in shown else next(iter(shown), None)
    parts = [f"trial-{record.number:03d}"]
    if backbone:
        parts.append(str(backbone).partition(".")[0])
    if key is not None:
        parts.append(f"{key}={_short(shown[key])}")
    return " ".join(parts)


def run_params(record: TrialRecord, config: TrialConfig | None) -> dict[str, str]:
    """Returns the searched parameters by the names of the space, and every setting by its full name."""
    settings = _leaves(config.model_dump(mode="json")) if config else {}
    return {_key(name): str(value)[:_PARAM_CHARACTERS] for name, value in {**record.params, **settings}.items()}


def run_tags(record: TrialRecord) -> dict[str, str]:
    """Returns where the trial stands."""
    tags = {"sweeper.state": record.state.value, "sweeper.attempts": str(record.attempts)}
    if record.failure:
        tags["sweeper.failure"] = record.failure.reason[:_TAG_CHARACTERS]
    return tags


def epoch_points(record: TrialRecord, objective: str, *, after: int) -> list[list[Point]]:
    """Returns the metrics of the epochs later than `after`, one list an epoch.

    `best_<objective>` has a point at each epoch that beat all before it, so its last step is the best epoch.
    A point's time is the trial's start plus the seconds it trained and evaluated until then.
    """
    seconds = record.started or 0.0
    best: float | None = None
    found = []
    for epoch in record.epochs:
        seconds += epoch.train_seconds + epoch.eval_seconds
        is_best = _beats(epoch, best, objective)
        if is_best:
            best = epoch.value(objective)
        if epoch.epoch > after:
            values = epoch.model_dump(exclude_none=True) | ({f"best_{objective}": best} if is_best else {})
            found.append([Point(name, float(v), epoch.epoch, int(seconds * 1000)) for name, v in values.items()])
    return found


@dataclass(frozen=True)
class TrialSummary:
    """What the sweep's own metrics need of a trial."""

    state: TrialState
    best: float | None
    """The best objective so far; None before the first epoch with a finite or infinite one."""


def trial_summary(record: TrialRecord, objective: str) -> TrialSummary:
    """Returns a trial's state and best value."""
    best: float | None = None
    for epoch in record.epochs:
        if _beats(epoch, best, objective):
            best = epoch.value(objective)
    return TrialSummary(record.state, best)


def sweep_metrics(trials: Collection[TrialSummary], objective: str) -> dict[str, float]:
    """Returns the sweep's own metrics: trials by state, and the best objective of all of them."""
    states = Counter(trial.state for trial in trials)
    metrics = {f"trials_{state.value}": float(states[state]) for state in TrialState}
    values = [trial.best for trial in trials if trial.best is not None]
    if values:
        metrics[f"best_{objective}"] = max(values) if METRICS[objective].higher_is_better else min(values)
    return metrics


def finished_trials(metrics: Mapping[str, float]) -> int:
    """Returns how many trials were over when `sweep_metrics` was taken; it never goes down."""
    return int(sum(metrics.get(f"trials_{state.value}", 0.0) for state in TrialState if state.is_finished))


def _beats(epoch: EpochMetrics, best: float | None, objective: str) -> bool:
    value = epoch.value(objective)
    if math.isnan(value):
        return False
    return best is None or (value > best if METRICS[objective].higher_is_better else value < best)


def _short(value: ParamValue) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if value and not 0.01 <= abs(value) < 10_000 else f"{value:.3g}"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _leaves(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _key(name: str) -> str:
    """MLflow takes letters, digits and a few signs; only `backbone_args` can hold others."""
    return re.sub(r"[^\w.-]", "_", name)

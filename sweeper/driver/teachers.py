"""A sweep named as a teacher stands for its best trial, settled once, before the sweep begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeper.errors import SpecError
from sweeper.folder import read_spec
from sweeper.paths import SweepPaths, TrialPaths
from sweeper.records import METRICS
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec

_NAMES = ("teacher", "train.teacher")


def with_best_trials(spec: SweepSpec) -> SweepSpec:
    """Returns the spec in which each teacher that is a sweep's folder is that sweep's best trial's.

    So the resolved spec, and with it every later resume, names one and the same model.

    Raises:
        SpecError: a sweep has no trial with a finished epoch.
    """
    dumped = spec.model_dump(mode="json", by_alias=True)
    settled = _settled(dumped)
    return spec if settled == dumped else SweepSpec.model_validate(settled)


def _settled(value: Any) -> Any:
    """Walks through a dumped spec; teachers stand in sections, overrides, points and choices."""
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _teacher(item) if name in _NAMES else _settled(item) for name, item in value.items()}


def _teacher(value: Any) -> Any:
    if isinstance(value, dict) and "choice" in value:
        return value | {"choice": [_teacher(option) for option in value["choice"]]}
    return _best_trial(value) if isinstance(value, str) else value


def _best_trial(folder: str) -> str:
    paths = SweepPaths(Path(folder))
    if not paths.resolved.is_file():
        _keep(TrialPaths(Path(folder)))
        return folder
    spec = read_spec(paths)
    objective = spec.search.objective
    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    best, number = max(
        (
            (sign * epoch.value(objective), record.number)
            for record in open_ledger(spec, storage_url(spec, paths), create=False).records()
            if (epoch := record.best_epoch(objective)) is not None and paths.trial(record.number).best.is_file()
        ),
        default=(None, -1),
    )
    if best is None:
        raise SpecError(
            f"A sweep named as `teacher` must have a trial with a finished epoch, but `{folder}` has none; name "
            "another one."
        )
    _keep(paths.trial(number))
    return str(paths.trial(number).root)


def _keep(trial: TrialPaths) -> None:
    """Marks a trial, so that its own sweep, which may go on, does not remove the weights of a teacher."""
    if trial.best.is_file():
        with suppress(OSError):  # a folder that nobody may write to is not tidied either
            trial.keep.write_text(
                "A teacher of another sweep; delete this file when that is finished.\n", encoding="utf-8"
            )

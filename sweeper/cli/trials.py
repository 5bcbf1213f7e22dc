"""One trial of a sweep, as the commands that look at one find it."""

from __future__ import annotations

from pathlib import Path

from sweeper.errors import InputError
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.paths import SweepPaths, TrialPaths
from sweeper.predictions import read_predictions
from sweeper.records import TrialRecord
from sweeper.results import Side
from sweeper.spec import SweepSpec, TrialConfig, resolve


def find_trial(sweep: str, number: int, root: Path | None) -> tuple[SweepSpec, SweepPaths, TrialRecord]:
    """Returns a sweep and one of its trials.

    Raises:
        SweepFolderError: there is no such sweep.
        InputError: it has no such trial, or that has finished no epoch.
    """
    from sweeper.search import open_ledger, storage_url

    paths = find_sweep(workspace_at(root), sweep)
    spec = read_spec(paths)
    records = {one.number: one for one in open_ledger(spec, storage_url(spec, paths), create=False).records()}
    if number not in records or not records[number].epochs:
        have = f"0 to {max(records)}" if records else "none"
        why = "has finished no epoch" if number in records else f"does not exist; there are {have}"
        raise InputError(f"`{spec.name}` must have a trial {number} with a finished epoch, but it {why}.")
    return spec, paths, records[number]


def config_of(spec: SweepSpec, trial: TrialPaths, record: TrialRecord) -> TrialConfig:
    """Returns what a trial ran: what it wrote down, else what follows from the sweep's file."""
    if trial.config.exists():
        return TrialConfig.model_validate_json(trial.config.read_bytes())
    return resolve(spec, record.params)


def side_of(sweep: str, number: int, root: Path | None) -> tuple[Side, str]:
    """Returns a trial to compare, and its sweep's objective; errors as those of `find_trial`."""
    spec, paths, record = find_trial(sweep, number, root)
    trial = paths.trial(number)
    config = config_of(spec, trial, record)
    said = read_predictions(trial.predictions)
    return Side(f"{spec.name}/{number}", config, record.epochs, said), spec.search.objective

"""A sweep from its spec to its last trial: the story that `sweeper run` and `sweeper resume` tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sweeper.data import Prepared
from sweeper.driver.advice import read_advice, settle_advice, write_advice
from sweeper.driver.attempts import Sweep
from sweeper.driver.closing import leave_report
from sweeper.driver.cluster import connected, gpu_mb_for, share_for, slots_for
from sweeper.driver.confirm import confirm
from sweeper.driver.edit import SweepEdit, apply_edit, spec_after
from sweeper.driver.engine import run_trials
from sweeper.driver.forecast import costs_of, settle_plan
from sweeper.driver.look import looking_on_ray
from sweeper.driver.observer import NullObserver, SweepObserver
from sweeper.driver.preflight import prepare, require_same_split, write_data
from sweeper.driver.process import ended_by_sigterm, logged
from sweeper.driver.teachers import with_best_trials
from sweeper.driver.warm_start import earlier_searches
from sweeper.folder import find_sweep, held, read_spec, require_new, workspace_at, write_folder
from sweeper.paths import CachePaths, SweepPaths, Workspace, written_aside
from sweeper.planning.machine import place_of
from sweeper.records import TrialRecord
from sweeper.search import GivenUp, Ledger, open_ledger, require_no_ledger, storage_url, with_storage
from sweeper.spec import SweepSpec, dump_spec, resolve
from sweeper.spec.checks import require_valid
from sweeper.tracking import Environment, SweepInfo, capture_environment, open_tracker

_FLUSH_SECONDS = 60.0
_MORE_TRIALS = 10


class Outlook(BaseModel):
    """What more trials would likely buy."""

    model_config = ConfigDict(frozen=True)

    trials: int
    """So many more."""
    gain: float
    """By how much the objective would improve."""
    hours: float
    """Of training and evaluation, one trial after another."""


class SweepOutcome(BaseModel):
    """What a driver leaves behind."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    records: tuple[TrialRecord, ...]
    finished: bool
    """False when the sweep was stopped; `resume_sweep` goes on."""
    given_up: tuple[GivenUp, ...] = ()
    """Backbones of a choice that are beaten for certain."""
    ended: str | None = None
    """Why it is finished with fewer trials than were asked for."""
    outlook: Outlook | None = None
    """None where too few trials are finished to say."""
    report: Path | None = None
    """The page that shows the sweep; None where it was stopped."""


def run_sweep(
    spec: SweepSpec,
    *,
    root: Path | None = None,
    source: Path | None = None,
    observer: SweepObserver | None = None,
) -> SweepOutcome:
    """Runs a new sweep to its end, or until Ctrl-C or SIGTERM.

    Usage::

        outcome = run_sweep(load_spec(Path("search_spaces/quickstart.yaml")))

    Args:
        spec: what is asked.
        root: the folder that holds all sweeps; `SWEEPER_ROOT`, else `./sweeps`, by default.
        source: the file the spec came from, kept beside the results.
        observer: hears what happens.

    Raises:
        InputError: the sweep exists already, or cannot run as asked.
        EngineError: Ray could not be started, or kept failing.
        TrackingError: the tracking server cannot be reached at the start.
    """
    require_valid(spec)
    workspace = workspace_at(root)
    paths = require_new(workspace, spec.name)
    spec = with_storage(with_best_trials(spec))
    with held(paths), connected(), ended_by_sigterm():
        return _run(spec, workspace, paths, source=source, observer=observer or NullObserver())


def resume_sweep(
    name: str, *, root: Path | None = None, observer: SweepObserver | None = None, edit: SweepEdit | None = None
) -> SweepOutcome:
    """Goes on with a sweep that was stopped or killed: finished trials stay, running ones continue.

    Args:
        name: the sweep's name, or its folder.
        root: the folder that holds all sweeps.
        observer: hears what happens.
        edit: what is to be different from here on.

    Raises:
        InputError: there is no such sweep, or another driver runs it.
        EngineError: Ray could not be started, or kept failing.
        TrackingError: the tracking server cannot be reached at the start.
    """
    paths = find_sweep(workspace_at(root), name)
    workspace = Workspace(paths.root.parent)  # also where the sweep was named by its folder
    with held(paths), connected(), ended_by_sigterm():
        return _run(read_spec(paths), workspace, paths, edit=edit, observer=observer or NullObserver())


def _run(  # noqa: PLR0913 - one of the two is given
    spec: SweepSpec,
    workspace: Workspace,
    paths: SweepPaths,
    *,
    observer: SweepObserver,
    source: Path | None = None,
    edit: SweepEdit | None = None,
) -> SweepOutcome:
    paths.stop_request.unlink(missing_ok=True)
    paths.pause_request.unlink(missing_ok=True)
    before, spec = spec, spec_after(spec, paths, edit) if edit else spec
    with logged(paths):
        share = share_for(spec.resources)
        cache = CachePaths.default()
        prepared = prepare(spec, cache, observer)
        require_same_split(paths, prepared, observer)
        if edit:
            apply_edit(before, spec, paths, edit, observer)
        url = storage_url(spec, paths)
        if not paths.resolved.exists():
            require_no_ledger(spec, url)
            earlier = earlier_searches(spec, workspace, prepared)
            write_advice(paths, settle_advice(spec, earlier, looking_on_ray(share, cache), observer))
            write_folder(paths, spec, source=source)
        write_data(paths, prepared)
        environment = _note_environment(paths)
        slots = slots_for(share, spec.resources)
        plan = settle_plan(spec, paths, place_of(share, slots=slots), cache, observer)
        advice = replace(read_advice(paths).for_search(spec), cost=costs_of(spec, plan))
        ledger = open_ledger(spec, url, create=True, advice=advice)
        tracker = open_tracker(spec.tracking, workspace)
        tracker.begin(_info(spec, ledger, prepared, environment))
        finished = False
        try:
            records = ledger.records()
            for record in records:
                if record.attempts:  # a queued trial has no point yet
                    tracker.update(record, resolve(spec, record.params))
            observer.started(records, total=ledger.total, slots=slots)
            gpu_mb = gpu_mb_for(share, spec.resources)
            finished = run_trials(Sweep(spec, paths, cache, ledger, tracker, observer, share, gpu_mb))
        finally:
            observer.note("Writing the last results to MLflow.")
            backlog = tracker.close(finished=finished, timeout=_FLUSH_SECONDS)
            if backlog.trials:
                observer.note(
                    f"MLflow did not take {backlog.trials} trials yet; `sweeper resume {spec.name}` delivers them."
                )
        if finished and spec.search.confirm is not None:
            finished = confirm(spec, paths, spec.search.confirm, observer)
        return SweepOutcome(
            folder=paths.root,
            records=ledger.records(),
            finished=finished,
            given_up=ledger.given_up(),
            ended=ledger.ended,
            outlook=_outlook(ledger),
            report=leave_report(paths, cache, observer) if finished else None,
        )


def _outlook(ledger: Ledger) -> Outlook | None:
    gain = ledger.gain_of_more(trials=_MORE_TRIALS)
    records = [record for record in ledger.records() if record.state.is_finished]
    if gain is None or not records:
        return None
    seconds = sum(record.seconds for record in records) / len(records)
    return Outlook(trials=_MORE_TRIALS, gain=gain, hours=_MORE_TRIALS * seconds / 3600)


def _note_environment(paths: SweepPaths) -> Environment:
    """Returns where the driver runs now; where it ran first is kept in the sweep's folder."""
    environment = capture_environment()
    if not paths.environment.exists():
        with written_aside(paths.environment) as aside:
            aside.write_text(environment.model_dump_json(indent=2), encoding="utf-8")
    return environment


def _info(spec: SweepSpec, ledger: Ledger, prepared: Prepared, environment: Environment) -> SweepInfo:
    return SweepInfo(
        name=spec.name,
        sweep_id=ledger.sweep_id,
        objective=spec.search.objective,
        resolved_spec=dump_spec(spec),
        environment=environment,
        data_fingerprint=prepared.data_fingerprint,
        split_fingerprint=prepared.split_fingerprint,
    )

"""Where a sweep stands: how many trials are in which state, what runs, what failed and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from sweeper.records import DriverState, Spent, TrialRecord, TrialState, WaitingTrial, WorkerState
from sweeper.results.leaderboard import Row, rank_for
from sweeper.results.waiting import holders, waiting_trials
from sweeper.spec import SweepSpec, resolve
from sweeper.spec.resources import ResourcesSpec


class RunningTrial(BaseModel):
    """A trial that is under way, or was when its driver went."""

    model_config = ConfigDict(frozen=True)

    number: int
    epochs: int
    """Epochs finished."""
    of_epochs: int
    """Epochs it will run if it is not stopped."""
    attempt: int
    host: str | None = None
    """The machine it runs on; None where it does not."""
    pid: int | None = None
    """Its worker's process there."""
    micro_batch: int | None = None
    """Images in one pass, where the whole batch did not fit into memory."""
    gpus: float | None = None
    """The part of a GPU, or how many, it had in its last epoch; None on a CPU and before the first."""


class FailedTrial(BaseModel):
    """A trial that failed."""

    model_config = ConfigDict(frozen=True)

    number: int
    reason: str
    log: str
    """The trial's log file."""


class Sight(BaseModel):
    """What is known of a sweep besides its trials."""

    model_config = ConfigDict(frozen=True)

    alive: bool
    """Whether a driver holds the sweep."""
    driver: DriverState | None = None
    """What it says of itself, once it has started."""
    workers: dict[int, WorkerState] = {}
    """Where trials run, by their numbers."""
    logs: dict[int, str] = {}
    """The log file of each trial, by number."""
    spent: Spent = Spent()
    """What has been used up."""
    ended: str | None = None
    """Why it is finished with fewer trials than were asked for."""


class SweepStatus(BaseModel):
    """A sweep at a glance."""

    model_config = ConfigDict(frozen=True)

    name: str
    alive: bool
    """Whether a driver works on it now."""
    total: int
    counts: dict[TrialState, int]
    running: tuple[RunningTrial, ...]
    waiting: tuple[WaitingTrial, ...] = ()
    """Trials that have a number and do not run, each with the reason."""
    failed: tuple[FailedTrial, ...]
    best: Row | None
    seconds: float
    """Training and evaluation of all trials together."""
    paused: str | None = None
    """Why no trial starts for now."""
    unasked: int = 0
    """Trials that have no point yet and will get one."""
    spent: Spent = Spent()
    """What has been used up."""
    budget: tuple[str, ...] = ()
    """How much of each budget is used up: `12 of 40 epochs`."""
    explanation: str
    """One sentence: what happens next, or what to do; why trials wait."""


def status_of(spec: SweepSpec, records: Sequence[TrialRecord], sight: Sight, *, total: int) -> SweepStatus:
    """Sums a sweep up.

    Args:
        spec: what was asked.
        records: every trial the ledger knows.
        sight: what else is known.
        total: trials the finished sweep will have.
    """
    driver = sight.driver if sight.alive else None
    put_back = {one.number for one in driver.waiting} if driver is not None else set()
    counts = Counter(TrialState.WAITING if r.number in put_back else r.state for r in records)
    counts[TrialState.WAITING] += max(0, total - len(records))
    running = tuple(
        _running(spec, record, sight.workers.get(record.number) if sight.alive else None)
        for record in records
        if record.state is TrialState.RUNNING and record.number not in put_back
    )
    failed = tuple(
        FailedTrial(number=r.number, reason=r.failure.reason if r.failure else "", log=sight.logs.get(r.number, ""))
        for r in records
        if r.state is TrialState.FAILED
    )
    return SweepStatus(
        name=spec.name,
        alive=sight.alive,
        total=total,
        counts={state: counts[state] for state in TrialState},
        running=running,
        waiting=waiting_trials(records, driver, alive=sight.alive, ended=sight.ended),
        failed=failed,
        best=rank_for(records, spec.search).best,
        seconds=sum(record.seconds for record in records),
        unasked=max(0, total - len(records)) if sight.ended is None else 0,
        spent=sight.spent,
        budget=_budget(spec, sight.spent),
        paused=driver.paused if driver is not None else None,
        explanation=_explanation(spec, counts, sight),
    )


def _running(spec: SweepSpec, record: TrialRecord, worker: WorkerState | None) -> RunningTrial:
    return RunningTrial(
        number=record.number,
        epochs=len(record.epochs),
        of_epochs=resolve(spec, record.params).train.epochs if record.attempts else spec.train.epochs,
        attempt=record.attempts,
        host=worker.host if worker is not None else None,
        pid=worker.pid if worker is not None else None,
        micro_batch=record.epochs[-1].micro_batch if record.epochs else None,
        gpus=record.epochs[-1].gpus if record.epochs else None,
    )


def _budget(spec: SweepSpec, spent: Spent) -> tuple[str, ...]:
    price = spec.resources.price_per_hour or 0.0
    used = {
        "epochs": spent.epochs,
        "gpu_hours": spent.gpu_hours,
        "hours": spent.hours,
        "money": spent.hours * price,
    }
    given = spec.search.budget.model_dump(exclude_none=True)
    return tuple(f"{used[name]:.3g} of {amount:g} {name.replace('_', '-')}" for name, amount in given.items())


def _explanation(spec: SweepSpec, counts: Counter[TrialState], sight: Sight) -> str:
    waiting, running = counts[TrialState.WAITING], counts[TrialState.RUNNING]
    alive, ended = sight.alive, sight.ended
    if ended is not None and not running:
        return f"The sweep is finished. {ended}"
    if ended is not None and alive:
        return f"The last {running} trials are running; no new one starts. {ended}"
    if not waiting and not running:
        return "The sweep is finished."
    if not alive:
        return (
            f"No driver is running; `sweeper resume {spec.name}` goes on with "
            f"{running} interrupted and {waiting} waiting trials."
        )
    driver = sight.driver
    if driver is not None and driver.paused is not None:
        still = f" Trials that still finish their epoch: {running}." if running else ""
        return f"{driver.paused}{still}"
    wait = "1 trial waits" if waiting == 1 else f"{waiting} trials wait"
    if waiting and running:
        all_slots = "the only slot is" if running == 1 else f"all {running} slots are"
        busy = holders(driver) if driver is not None and driver.running else f"{all_slots} busy"
        return f"{wait} because {busy}; each trial takes {_need(spec.resources)}."
    if waiting:
        return f"{wait} for a worker to start."
    return "The last trial is running." if running == 1 else f"The last {running} trials are running."


def _need(resources: ResourcesSpec) -> str:
    """Returns what a trial takes: `2 CPU and 0.5 GPU of the kind H100`."""
    gpus, kind = resources.gpus_per_trial, resources.accelerator_type
    amount = f"{gpus:g} GPU" if isinstance(gpus, float) and gpus else "a GPU" if kind is not None else ""
    of_kind = f" of the kind {kind}" if kind is not None else ""
    return f"{resources.cpus_per_trial:g} CPU{f' and {amount}{of_kind}' if amount else ''}"

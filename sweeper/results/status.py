"""Where a sweep stands: how many trials are in which state, what runs, what failed and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from sweeper.records import Spent, TrialRecord, TrialState
from sweeper.results.leaderboard import Row, rank_for
from sweeper.spec import SweepSpec, resolve


class RunningTrial(BaseModel):
    """A trial that is under way, or was when its driver went."""

    model_config = ConfigDict(frozen=True)

    number: int
    epochs: int
    """Epochs finished."""
    of_epochs: int
    """Epochs it will run if it is not stopped."""
    attempt: int


class FailedTrial(BaseModel):
    """A trial that failed."""

    model_config = ConfigDict(frozen=True)

    number: int
    reason: str
    log: str
    """The trial's log file."""


class SweepStatus(BaseModel):
    """A sweep at a glance."""

    model_config = ConfigDict(frozen=True)

    name: str
    alive: bool
    """Whether a driver works on it now."""
    total: int
    counts: dict[TrialState, int]
    running: tuple[RunningTrial, ...]
    failed: tuple[FailedTrial, ...]
    best: Row | None
    seconds: float
    """Training and evaluation of all trials together."""
    budget: tuple[str, ...] = ()
    """How much of each budget is used up: `12 of 40 epochs`."""
    explanation: str
    """One sentence: what happens next, or what to do; why trials wait."""


def status_of(  # noqa: PLR0913 - all that is known of a sweep
    spec: SweepSpec,
    records: Sequence[TrialRecord],
    *,
    total: int,
    alive: bool,
    logs: dict[int, str],
    spent: Spent | None = None,
    ended: str | None = None,
) -> SweepStatus:
    """Sums a sweep up.

    Args:
        spec: what was asked.
        records: every trial the ledger knows.
        total: trials the finished sweep will have.
        alive: whether a driver holds the sweep.
        logs: the log file of each trial, by number.
        spent: what has been used up.
        ended: why it is finished with fewer trials.
    """
    counts = Counter(record.state for record in records)
    counts[TrialState.WAITING] += total - len(records)
    running = tuple(
        RunningTrial(
            number=r.number,
            epochs=len(r.epochs),
            of_epochs=resolve(spec, r.params).train.epochs if r.attempts else spec.train.epochs,
            attempt=r.attempts,
        )
        for r in records
        if r.state is TrialState.RUNNING
    )
    failed = tuple(
        FailedTrial(number=r.number, reason=r.failure.reason if r.failure else "", log=logs.get(r.number, ""))
        for r in records
        if r.state is TrialState.FAILED
    )
    return SweepStatus(
        name=spec.name,
        alive=alive,
        total=total,
        counts={state: counts[state] for state in TrialState},
        running=running,
        failed=failed,
        best=rank_for(records, spec.search).best,
        seconds=sum(record.seconds for record in records),
        budget=_budget(spec, spent or Spent()),
        explanation=_explanation(spec, counts, alive=alive, ended=ended),
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


def _explanation(spec: SweepSpec, counts: Counter[TrialState], *, alive: bool, ended: str | None) -> str:
    waiting, running = counts[TrialState.WAITING], counts[TrialState.RUNNING]
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
    if waiting and running:
        gpus = spec.resources.gpus_per_trial
        need = f"{spec.resources.cpus_per_trial:g} CPU" + (
            f" and {gpus:g} GPU" if isinstance(gpus, float) and gpus else ""
        )
        return f"{waiting} trials wait because all {running} slots are busy; each trial takes {need}."
    if waiting:
        return f"{waiting} trials wait for a worker to start."
    return f"The last {running} trials are running."

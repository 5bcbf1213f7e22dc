"""Why each trial that does not run does not run."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.records import DriverState, TrialRecord, TrialState, WaitingTrial


def waiting_trials(
    records: Sequence[TrialRecord], driver: DriverState | None, *, alive: bool, ended: str | None
) -> tuple[WaitingTrial, ...]:
    """Returns the trials that have a number and wait, by number, each with the reason.

    Args:
        records: every trial the ledger knows.
        driver: what the driver says of itself, where it does.
        alive: whether a driver holds the sweep.
        ended: why no new trial starts.
    """
    begun = {one.number: one.why for one in driver.waiting} if alive and driver is not None else {}
    found = []
    for record in records:
        if record.state is TrialState.RUNNING and not alive:
            why = f"it was interrupted after epoch {len(record.epochs)}, and no driver is running"
        elif record.state is TrialState.RUNNING and record.number in begun:
            why = begun[record.number]
        elif record.state is TrialState.WAITING:
            why = f"its point is queued; {_queued(driver, alive=alive, ended=ended)}"
        else:
            continue
        found.append(WaitingTrial(number=record.number, why=why))
    return tuple(found)


def holders(driver: DriverState) -> str:
    """Returns who has the slots: `trials 3 and 4 hold the 2 slots`."""
    *others, last = (str(number) for number in driver.running)
    names = f"trials {', '.join(others)} and {last} hold" if others else f"trial {last} holds"
    slots = "the only slot" if driver.slots == 1 else f"{len(driver.running)} of {driver.slots} slots"
    return (
        f"{names} {slots if len(driver.running) < driver.slots or driver.slots == 1 else f'the {driver.slots} slots'}"
    )


def _queued(driver: DriverState | None, *, alive: bool, ended: str | None) -> str:
    if ended is not None:
        return "no new trial starts"
    if not alive:
        return "no driver is running"
    if driver is None:
        return "the sweep is being prepared"
    if driver.paused is not None:
        return "the sweep is paused"
    if len(driver.running) >= driver.slots:
        return f"no slot is free: {holders(driver)}"
    return "a worker is starting"

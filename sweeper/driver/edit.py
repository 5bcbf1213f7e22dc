"""A sweep that has begun is changed: first the ledger, then a line in its log of edits, then its spec."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.driver.observer import SweepObserver
from sweeper.driver.ranking import best_first
from sweeper.errors import InputError
from sweeper.folder import write_folder
from sweeper.paths import SweepPaths
from sweeper.records import TrialRecord, TrialState
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec
from sweeper.spec.edit import changes, edited, require_comparable
from sweeper.trial.remote import RemoteTrial, place_of

_BEST = "best:"


@dataclass(frozen=True)
class SweepEdit:
    """What is asked to be different."""

    assignments: tuple[str, ...] = ()
    """`--set` each."""
    allowed: tuple[str, ...] = ()
    """Keys that may change although they are the same for all trials."""
    again: tuple[str, ...] = ()
    """Trials whose points run again: numbers, or `best:8`."""

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return bool(self.assignments or self.again)


def spec_after(spec: SweepSpec, paths: SweepPaths, edit: SweepEdit) -> SweepSpec:
    """Returns the spec that an edit asks for; each point that runs again is one trial more.

    Raises:
        SpecError: the edit breaks a rule of the file, or would make old and new trials incomparable.
        InputError: a trial that is to run again is not there.
    """
    now = edited(spec, edit.assignments)
    again = _numbers(spec, paths, edit.again)
    if again:
        now = edited(now, [f"search.trials=+{len(again)}"])
    require_comparable(spec, now, allowed=edit.allowed)
    return now


def apply_edit(before: SweepSpec, now: SweepSpec, paths: SweepPaths, edit: SweepEdit, observer: SweepObserver) -> None:
    """Makes `now` the sweep's spec, all but the trials that there are.

    Cut off in between, the sweep is as it was, and the same edit can be asked for again.
    """
    again = _numbers(before, paths, edit.again)
    ledger = open_ledger(now, storage_url(now, paths), create=True)
    numbers = ledger.edit(before, again=again)
    for old, new in numbers.items():
        checkpoint = paths.trial(old).checkpoint
        if checkpoint.exists():  # of a trial that failed; with the same settings the new one goes on from there
            paths.trial(new).root.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkpoint, paths.trial(new).checkpoint)
            place = place_of(paths.trial(new), paths, now.checkpoints.remote, ledger.sweep_id)
            if place is not None:
                RemoteTrial(place).keep(paths.trial(new), attempt=0)
    changed = changes(before, now)
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "trials": len(ledger.records()) - len(numbers),
        "changes": [change.model_dump(mode="json") for change in changed],
        "again": {str(old): new for old, new in numbers.items()},
    }
    with paths.edits.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    write_folder(paths, now, source=None)
    if any(change.key in ("backbone", "space.backbone") for change in changed):
        paths.plan.unlink(missing_ok=True)  # it knows nothing of a new backbone, and is made anew
    for change in changed:
        observer.note(f"edited: {change}")
    for old, new in numbers.items():
        observer.note(f"trial {old} runs again, as trial {new}")


def _numbers(spec: SweepSpec, paths: SweepPaths, again: Sequence[str]) -> tuple[int, ...]:
    if not again:
        return ()
    records = {r.number: r for r in open_ledger(spec, storage_url(spec, paths), create=False).records()}
    found = [number for one in again for number in _meant(one, records, spec)]
    return tuple(dict.fromkeys(found))


def _meant(text: str, records: dict[int, TrialRecord], spec: SweepSpec) -> list[int]:
    if text.startswith(_BEST) and text.removeprefix(_BEST).isdigit():
        finished = (record for record in records.values() if record.state.is_finished)
        return best_first(finished, spec.search)[: int(text.removeprefix(_BEST))]
    if text.isdigit() and int(text) in records and records[int(text)].state.is_finished:
        return [int(text)]
    known = ", ".join(str(number) for number, record in records.items() if record.state is not TrialState.WAITING)
    raise InputError(
        f"`--again` takes the number of a finished trial, or `best:8` for the best eight, but got `{text}`; the trials "
        f"that were begun: {known or 'none'}."
    )

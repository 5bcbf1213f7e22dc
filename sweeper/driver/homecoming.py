"""Brings the files of finished trials home from a store, beside the sweep: a store that is away holds nothing up."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from sweeper.errors import SweeperError
from sweeper.paths import SweepPaths
from sweeper.records import TrialRecord, TrialState
from sweeper.spec import SweepSpec
from sweeper.trial.remote import RemoteTrial, place_of

_AT_ONCE: Final = 4
_PATIENCE: Final = 60.0
"""Seconds; what could not be brought home then is brought by the next driver."""


class Homecoming:
    """Trials whose files are on their way.

    Usage::

        coming = Homecoming(spec, paths, sweep_id=ledger.sweep_id)
        coming.expect(record)  # a finished trial
        for record, why_not in coming.arrived(): ...  # those that are there since, or could not come
        for record, why_not in coming.arrived(wait=True): ...
    """

    def __init__(self, spec: SweepSpec, paths: SweepPaths, *, sweep_id: str) -> None:
        self._remote = spec.checkpoints.remote
        self._paths = paths
        self._sweep_id = sweep_id
        self._calls = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="home")
        self._coming: dict[Future[None], TrialRecord] = {}

    def expect(self, record: TrialRecord) -> None:
        """Begins to bring a finished trial home, unless it is, or workers share the sweep's folder."""
        trial = self._paths.trial(record.number)
        place = place_of(trial, self._paths, self._remote, self._sweep_id)
        is_coming = any(record.number == other.number for other in self._coming.values())
        if place is None or trial.home.exists() or is_coming:
            return
        remote = RemoteTrial(place, patience=_PATIENCE)
        failed = record.state is TrialState.FAILED
        self._coming[self._calls.submit(remote.bring_home, trial, attempt=record.attempts, state=failed)] = record

    def arrived(self, *, wait: bool = False) -> list[tuple[TrialRecord, str | None]]:
        """Returns trials that were under way and are no more, with a sentence where they could not come.

        Args:
            wait: for all of them.
        """
        found = []
        for future in [one for one in self._coming if wait or one.done()]:
            record = self._coming.pop(future)
            error = future.exception()
            if error is not None and not isinstance(error, (SweeperError, OSError)):
                raise error
            found.append((record, None if error is None else str(error)))
        return found

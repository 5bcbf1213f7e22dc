"""BackgroundTracker: a thread that makes MLflow match the latest records, whenever MLflow is there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, final

from sweeper.errors import TrackingError
from sweeper.records import TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.tracking.answers import RequestRefused, ServerAway
from sweeper.tracking.tracker import Backlog, SweepInfo, Tracker

_LOG = logging.getLogger(__name__)

# Updates that come within this time of each other are written together.
_GATHER_SECONDS: Final = 0.25
_FIRST_RETRY_SECONDS: Final = 1.0
_LAST_RETRY_SECONDS: Final = 30.0


class SweepRuns(Protocol):
    """What the thread needs of `MlflowRuns`."""

    def read_back(self) -> None:
        """Learns what is written already."""

    def write_trial(self, record: TrialRecord, config: TrialConfig | None) -> None:
        """Writes what is missing of a trial."""

    def write_sweep(self) -> None:
        """Writes what is missing of the sweep itself."""

    def end(self, *, finished: bool) -> None:
        """Leaves nothing as running."""

    def epochs_of(self, number: int) -> int:
        """Returns how many epochs of a trial are written."""


@dataclass(frozen=True)
class _Update:
    record: TrialRecord
    config: TrialConfig | None


@final
class BackgroundTracker(Tracker):
    """Writes in its own thread; while MLflow is away, it waits and tries again.

    Nothing is lost by waiting: a record holds all epochs of its trial, so the latest one is all that is kept.
    """

    def __init__(self, connect: Callable[[SweepInfo], SweepRuns], *, where: str) -> None:
        """Stores how to connect.

        Args:
            connect: opens the sweep's runs.
            where: the URI as it may be shown.
        """
        self._connect = connect
        self._where = where
        self._runs: SweepRuns | None = None
        self._thread = threading.Thread(target=self._work, name="sweeper-tracking", daemon=True)
        self._changed = threading.Condition()
        # Guarded by `_changed`.
        self._waiting: dict[int, _Update] = {}
        self._finished: bool | None = None
        self._refused: dict[int, _Update] = {}
        self._is_given_up = False
        # Written by the thread alone.
        self._must_read_back = False
        self._was_away = False
        self._away_since: float | None = None
        self._has_ended = False

    def begin(self, info: SweepInfo) -> None:
        """Connects, here and now, and starts the thread.

        Raises:
            TrackingError: MLflow cannot be reached, or does not take the sweep.
        """
        try:
            self._runs = self._connect(info)
        except ServerAway as error:
            raise TrackingError(
                f"MLflow must answer when a sweep starts, but `{self._where}` does not ({error}); start it, correct "
                "`tracking.uri`, or go without by `--set tracking.enabled=false`."
            ) from error
        except RequestRefused as error:
            raise TrackingError(f"MLflow at `{self._where}` does not take the sweep: {error}") from error
        self._thread.start()

    def update(self, record: TrialRecord, config: TrialConfig | None) -> None:
        """Leaves the record for the thread."""
        with self._changed:
            self._waiting[record.number] = _Update(record, config)
            self._changed.notify_all()

    def close(self, *, finished: bool, timeout: float) -> Backlog:
        """Gives the thread until `timeout` to write the rest."""
        if self._runs is None:
            return Backlog()
        with self._changed:
            self._finished = finished
            self._changed.notify_all()
        self._thread.join(timeout)
        with self._changed:
            self._is_given_up = True
            self._changed.notify_all()
            left = {**self._refused, **self._waiting}
        if not self._has_ended:
            _LOG.warning(
                "MLflow at `%s` was not told that the sweep ended; its runs are left as they were.", self._where
            )
        records = [u.record for u in left.values() if u.record.state is not TrialState.WAITING]
        epochs = sum(max(0, len(record.epochs) - self._runs.epochs_of(record.number)) for record in records)
        return Backlog(trials=len(records), epochs=epochs)

    def _work(self) -> None:
        assert self._runs is not None
        retry_seconds = 0.0
        while not (self._has_ended or self._is_given_up):
            self._rest(retry_seconds)
            try:
                self._write(self._runs)
            except TrackingError as error:
                self._must_read_back = self._was_away = True
                self._note_away(error)
                retry_seconds = min(max(2 * retry_seconds, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)
            else:
                self._note_back()
                retry_seconds = 0.0

    def _rest(self, retry_seconds: float) -> None:
        """Returns when there is something to do, or to try again."""
        with self._changed:
            if retry_seconds == 0.0:
                self._changed.wait_for(lambda: self._waiting or self._finished is not None)
                self._changed.wait_for(lambda: self._finished is not None, timeout=_GATHER_SECONDS)
            elif self._finished is None:
                self._changed.wait_for(lambda: self._finished is not None, timeout=retry_seconds)
            else:
                self._changed.wait_for(lambda: self._is_given_up, timeout=_FIRST_RETRY_SECONDS)

    def _write(self, runs: SweepRuns) -> None:
        """Brings MLflow up to date with the records that wait now."""
        with self._changed:
            updates = list(self._waiting.values())
            finished = self._finished
        # Once more at the end: what a slow server did after we stopped waiting shows late.
        if self._must_read_back or (self._was_away and finished is not None):
            runs.read_back()
            self._must_read_back = False
        for update in updates:
            if self._is_given_up:
                return
            self._write_trial(runs, update)
        runs.write_sweep()
        if finished is not None:
            runs.end(finished=finished)
            self._has_ended = True

    def _write_trial(self, runs: SweepRuns, update: _Update) -> None:
        number = update.record.number
        refusal: RequestRefused | None = None
        try:
            runs.write_trial(update.record, update.config)
        except RequestRefused as error:
            refusal = error
            self._must_read_back = True
        with self._changed:
            was_refused = self._refused.pop(number, None) is not None
            if refusal is not None:
                self._refused[number] = update
            if self._waiting.get(number) is update:
                del self._waiting[number]
        if refusal is not None and not was_refused:
            _LOG.warning("MLflow at `%s` does not take trial %d: %s", self._where, number, refusal)

    def _note_away(self, error: TrackingError) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            _LOG.warning(
                "MLflow at `%s` is away (%s); the sweep goes on, and the rest is written when it is back.",
                self._where, error,
            )  # fmt: skip

    def _note_back(self) -> None:
        if self._away_since is not None:
            _LOG.info("MLflow at `%s` is back after %.0f s.", self._where, time.monotonic() - self._away_since)
            self._away_since = None

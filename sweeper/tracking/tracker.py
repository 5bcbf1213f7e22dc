"""Tracker: what the driver tells of a sweep, whatever is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from sweeper.records import TrialRecord
from sweeper.spec import TrialConfig
from sweeper.tracking.environment import Environment


@dataclass(frozen=True)
class SweepInfo:
    """What is written down once for the whole sweep."""

    name: str
    """The sweep's name."""
    sweep_id: str
    """Names this sweep and no other, and stays the same over every resume."""
    objective: str
    """One of `METRICS`; the best value is shown for each trial and for the sweep."""
    resolved_spec: str
    """The complete spec, as YAML."""
    environment: Environment
    """Where the driver runs."""
    data_fingerprint: str
    """Changes with any image or label."""
    split_fingerprint: str
    """Changes with which images are in which split: trials are comparable only where it is the same."""


@dataclass(frozen=True)
class Backlog:
    """What could not be written before the tracker was closed; `resume` delivers it."""

    trials: int = 0
    """Trials that are not in MLflow as they are in the ledger."""
    epochs: int = 0
    """Epochs of those trials that MLflow has not got."""


class Tracker(ABC):
    """Makes what people look at match the ledger, off the sweep's path.

    Usage::

        tracker = open_tracker(spec.tracking, workspace)
        tracker.begin(info)
        for record in ledger.records():          # once at the start, so that a resume catches up
            tracker.update(record, config)
        ...                                      # and whenever a record changed
        backlog = tracker.close(finished=True, timeout=60.0)
    """

    @abstractmethod
    def begin(self, info: SweepInfo) -> None:
        """Opens the sweep, or finds it again after a resume.

        Raises:
            TrackingError: what was configured cannot be reached.
        """

    @abstractmethod
    def update(self, record: TrialRecord, config: TrialConfig | None) -> None:
        """Takes the latest record of a trial and returns at once; an older one still waiting is dropped.

        Args:
            record: everything the ledger knows of the trial.
            config: the trial's complete settings; None where they are not known.
        """

    @abstractmethod
    def close(self, *, finished: bool, timeout: float) -> Backlog:
        """Writes what is waiting and ends the tracker; never raises because a server is away.

        Args:
            finished: whether the sweep is over; if not, it is left as interrupted.
            timeout: how long to try, in seconds.
        """


@final
class NoopTracker(Tracker):
    """Writes nothing: `tracking: {enabled: false}`."""

    def begin(self, info: SweepInfo) -> None:
        """Opens nothing."""

    def update(self, record: TrialRecord, config: TrialConfig | None) -> None:
        """Drops the record."""

    def close(self, *, finished: bool, timeout: float) -> Backlog:
        """Returns an empty backlog."""
        return Backlog()

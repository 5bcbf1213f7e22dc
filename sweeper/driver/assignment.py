"""What the driver gives a worker and what it gets back, across Ray's dictionaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from sweeper.records import EpochMetrics, Failure
from sweeper.spec.trial import TrialConfig

_KEY = "assignment"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Assignment(_Message):
    """One attempt at one trial, with all a worker needs to know."""

    sweep: str
    number: int
    attempt: int
    config: TrialConfig
    folder: Path
    """The trial's folder; of the worker's machine alone, and gone with the attempt, where there is a store."""
    remote: str | None = None
    """The store's place for the trial's files, to which they go after each epoch; None where the folder is shared."""
    cache: Path
    """The root of decoded images and converted weights; each node has its own."""
    device: str
    threads: int
    gpus: float = 0.0
    """The part of a GPU it gets, or how many."""
    stall_seconds: float | None = None
    """How long the worker may go without finishing a batch."""

    @property
    def processes(self) -> int:
        """That train the trial together, a GPU each."""
        return max(1, int(self.gpus))

    def to_ray(self) -> dict[str, Any]:
        """Returns the assignment as the configuration of a Tune trial."""
        return {_KEY: self.model_dump_json()}

    @classmethod
    def from_ray(cls, config: dict[str, Any]) -> Self:
        """Reads the configuration of a Tune trial."""
        return cls.model_validate_json(config[_KEY])


class Message(_Message):
    """One step of a worker: an epoch, the end, or a failure."""

    epoch: EpochMetrics | None = None
    failure: Failure | None = None
    preempted: str | None = None
    """Where the trial goes on, a sentence, if the worker's machine is about to go; the worker is not fit then."""
    disk_full: bool = False
    """Whether the trial could not go on because a disk was full; it can once there is room."""
    fit: bool = True
    """Whether the worker can go on with other trials; after an error that nobody foresaw it cannot."""

    def to_ray(self) -> dict[str, Any]:
        """Returns the message as the result of a Tune step; without an epoch it is the trial's last.

        An unfit worker's trial is not done for Tune: its next step raises, which is how Tune comes to
        discard the worker. (It would also discard one that refuses to be reset, but then it forgets to
        tell the searcher of the trial that was to go there.)
        """
        return {"message": self.model_dump_json(), "done": self.epoch is None and self.fit}

    @classmethod
    def from_ray(cls, result: dict[str, Any]) -> Self:
        """Reads the result of a Tune step."""
        return cls.model_validate_json(result["message"])

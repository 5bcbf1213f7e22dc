"""What happened: the values that flow back from a trial to the ledger, MLflow and the leaderboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

ParamValue = str | int | float | bool | None
"""What one searched parameter can be; Optuna's categorical choices allow the same five types."""


class _Record(BaseModel):
    # JSON has no infinity: a loss that overflowed is kept as the word, and read back as the number.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings")


class Metric(_Record):
    """How one number of an epoch is named, ordered and printed; everything that ranks reads this."""

    name: str
    title: str
    higher_is_better: bool
    format: str
    """A format specification, as in `format(value, metric.format)`."""
    column: bool = True
    """Whether every leaderboard shows it, or only one that ranks by it."""
    is_cost: bool = False
    """Whether it is what running the model takes: ratios of it count, and no training changes it."""

    @property
    def ideal(self) -> float:
        """What nothing can be better than: 1 for a share, 0 for a loss or a cost."""
        return 1.0 if self.higher_is_better else 0.0

    def shown(self, value: float) -> str:
        """Returns the metric with a value, as in a sentence: `top-1 0.9312`, `latency (ms) 12.4`."""
        return f"{self.title} {format(value, self.format)}"


_QUALITIES: Final = {
    name: Metric(name=name, title=title, higher_is_better=higher, format=".4f", column=column)
    for name, title, higher, column in (
        ("top1", "top-1", True, True),
        ("top5", "top-5", True, True),
        ("macro_f1", "macro F1", True, True),
        ("balanced_accuracy", "balanced acc.", True, True),
        ("val_loss", "val loss", False, True),
        ("recall_head", "head recall", True, False),
        ("recall_middle", "middle recall", True, False),
        ("recall_tail", "tail recall", True, False),
        ("balanced_accuracy_adjusted", "adjusted bal. acc.", True, False),
    )
}
_COSTS: Final = {
    name: Metric(name=name, title=title, higher_is_better=False, format=spec, column=False, is_cost=True)
    for name, title, spec in (
        ("latency_ms", "latency (ms)", ".3g"),
        ("parameters", "parameters", ".3g"),
        ("peak_memory_mb", "memory (MiB)", ".0f"),
    )
}
METRICS: Final[dict[str, Metric]] = {**_QUALITIES, **_COSTS}
"""What trials are ranked by: qualities, all measured on the validation split, and costs."""


class EpochMetrics(_Record):
    """One finished epoch of one trial."""

    epoch: int = Field(ge=1)
    """Epochs finished so far: 1 after the first."""
    top1: float
    """Share of validation images whose best guess is right, 0 to 1."""
    top5: float
    """Share of validation images whose class is among the best five guesses, 0 to 1."""
    macro_f1: float
    """F1 averaged over classes, each class counting the same, 0 to 1."""
    balanced_accuracy: float
    """Recall averaged over classes, 0 to 1."""
    val_loss: float
    """Mean cross entropy on the validation split, without label smoothing, in nats."""
    train_loss: float
    """Mean training loss over the epoch, as optimised."""
    lr: float
    """The largest learning rate used in the epoch's last step."""
    train_seconds: float
    """Seconds spent in training steps, data waits included, evaluation and saving not."""
    eval_seconds: float
    """Seconds spent evaluating."""
    images_per_second: float
    """Training images over training seconds."""
    peak_memory_mb: float
    """Peak device memory (CUDA) or resident memory of the process (CPU) so far, in MiB."""
    recall_head: float | None = None
    """Recall averaged over the classes with more training images than `eval.head_above`; None if there are none."""
    recall_middle: float | None = None
    """The same over the classes between head and tail."""
    recall_tail: float | None = None
    """The same over the classes with fewer training images than `eval.tail_below`."""
    tau: float | None = None
    """How much of the log class share to take off the logits for the best balanced accuracy on the validation split."""
    balanced_accuracy_adjusted: float | None = None
    """Balanced accuracy with that `tau`: chosen and measured on the same images, so somewhat too good."""
    top1_adjusted: float | None = None
    """Share of validation images whose best guess is right with that `tau`: what the adjustment costs or brings."""

    micro_batch: int | None = None
    """Images in one pass where the whole batch did not fit into memory; the steps are those of the whole batch."""
    gpus: float | None = None
    """GPUs that the trial had, or the part of one; None on CPUs."""
    parameters: int | None = None
    """Parameters of the model, those of its head included."""
    latency_ms: float | None = None
    """Milliseconds of the fastest pass of one image, in eval mode on the trial's device; measured once a phase."""

    def value(self, objective: str) -> float:
        """Returns the metric called `objective`, one of `METRICS`; not a number where it was not measured."""
        value: float | None = getattr(self, METRICS[objective].name)
        return math.nan if value is None else float(value)

    def dominates(self, other: EpochMetrics, objectives: Sequence[str]) -> bool:
        """Whether it is at least as good as `other` in every objective and better in one.

        What was not measured counts as equal.
        """
        gains = []
        for name in objectives:
            gain = self.value(name) - other.value(name)
            gains.append(gain if METRICS[name].higher_is_better else -gain)
        return not any(gain < 0.0 for gain in gains) and any(gain > 0.0 for gain in gains)


class BackboneLook(_Record):
    """What a first look at a backbone, before any trial, found."""

    backbone: str
    top1: float
    """Share of validation images that a linear probe on its frozen features names right, 0 to 1."""
    images: int
    """Images looked at."""
    seconds: float


class PastTrial(_Record):
    """A trial of an earlier search, as far as a warm start needs it."""

    settings: dict[str, ParamValue]
    """By any name of the setting; searched or not."""
    searched: tuple[str, ...]
    """The settings that were searched."""
    values: tuple[tuple[int, float], ...]
    """(epoch, objective), in order."""
    epochs: int = Field(ge=1)
    """Of a full training there."""


class HeldOutScore(_Record):
    """What the winner got on the held-out test; the contents of `test.json`."""

    trial: int
    metrics: dict[str, float]
    """By the names of `METRICS`, qualities only."""
    images: int
    split_fingerprint: str
    """Of which image is in which split."""
    scored: float
    """When, in seconds since the Unix epoch."""


class TrialState(StrEnum):
    """Where a trial stands. The last three are final: a trial never leaves them."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        """Whether the state is final."""
        return self in (TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED)


class Decision(Enum):
    """What the ledger answers to a reported epoch."""

    CONTINUE = "continue"
    STOP = "stop"


class Failure(_Record):
    """Why a trial failed, with what is needed to look into it."""

    reason: str
    """One line: the exception's type and message, or what became of the worker."""
    traceback: str = ""
    """The worker's traceback; empty when the worker died without one."""


class Spent(_Record):
    """What a sweep has used up, all its runs together."""

    epochs: int = 0
    gpu_hours: float = 0.0
    """Training and evaluation of all trials, each times its GPUs."""
    hours: float = 0.0
    """On the clock, pauses between runs left out."""


class WaitingTrial(_Record):
    """A trial that could run and does not."""

    number: int = Field(ge=0)
    why: str
    """A clause that completes `it waits:`."""


class DriverState(_Record):
    """What a driver says of itself to whoever looks from another process; the contents of `driver.json`."""

    host: str
    pid: int
    slots: int
    """How many trials run at once."""
    running: tuple[int, ...] = ()
    """The trials that hold a slot."""
    waiting: tuple[WaitingTrial, ...] = ()
    """Trials that were begun and wait to go on."""
    paused: str | None = None
    """Why no trial starts for now, a sentence; None while trials start."""


class WorkerState(_Record):
    """Where an attempt at a trial runs; the contents of `worker.json` while it does."""

    host: str
    pid: int
    attempt: int = Field(ge=1)
    started: float
    """Seconds since the Unix epoch."""
    micro_batch: int | None = None
    """Images in one pass at most, where the whole batch was too much for an earlier attempt."""
    kills: int = 0
    """How often the kernel there had ended a process for memory when it began."""
    killed_for_memory: bool = False
    """Written by the driver: Ray ended the worker because memory was short."""


class Suggestion(_Record):
    """A point of the search space with the trial number the ledger gave it."""

    number: int = Field(ge=0)
    attempt: int = Field(default=1, ge=1)
    """1 for a new trial; one more each time a lost or interrupted trial is taken up again."""
    params: dict[str, ParamValue]
    """Values by the name the search space gives them, inactive parameters left out."""


class TrialRecord(_Record):
    """Everything the ledger knows of one trial."""

    number: int = Field(ge=0)
    state: TrialState
    params: dict[str, ParamValue]
    epochs: tuple[EpochMetrics, ...] = ()
    """In order, without gaps or repeats, however often the trial was interrupted."""
    attempts: int = 0
    """How many times the trial was started."""
    failure: Failure | None = None
    stop_reason: str | None = None
    """Why it was stopped, where that was not the stop rule."""
    started: float | None = None
    """Seconds since the Unix epoch; None while waiting."""
    finished: float | None = None
    """Seconds since the Unix epoch; None until the trial is over."""

    @property
    def seconds(self) -> float:
        """Seconds the trial spent training and evaluating; waits and interruptions do not count."""
        return sum(epoch.train_seconds + epoch.eval_seconds for epoch in self.epochs)

    def best_epoch(self, objective: str) -> EpochMetrics | None:
        """Returns the epoch with the best `objective`, the earliest among equals.

        An epoch whose objective is not a number is never the best; None if no other is there.
        """
        sign = 1.0 if METRICS[objective].higher_is_better else -1.0
        numbers = [epoch for epoch in self.epochs if not math.isnan(epoch.value(objective))]
        return max(numbers, key=lambda epoch: sign * epoch.value(objective), default=None)

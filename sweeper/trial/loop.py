"""One epoch of training."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from sweeper.errors import ResourceError, TrialError
from sweeper.trial.device import Machine, generator_states, release_memory, restore_generators
from sweeper.trial.feed import Pending
from sweeper.trial.group import moving_statistics
from sweeper.trial.learner import Learner
from sweeper.trial.memory import held_mb, ran_out, total_mb
from sweeper.trial.progress import Left, Progress
from sweeper.trial.watchdog import alive

_log = logging.getLogger(__name__)

_STEPS_BETWEEN_CHECKS = 50
"""Reading a loss waits for the device, so a loss that is not finite is found up to this many steps late."""


@dataclass(frozen=True)
class TrainedEpoch:
    """What an epoch of training comes to; see `EpochMetrics` for the fields."""

    train_loss: float
    lr: float
    train_seconds: float
    images_per_second: float
    progress: Progress
    """All of the epoch, should its evaluation be left."""


def train_epoch(
    learner: Learner,
    batches: Iterable[Pending],
    *,
    epoch: int,
    begun: Progress | None = None,
) -> TrainedEpoch:
    """Trains on `batches` once.

    Every `accumulate` batches make one optimiser step; the last of an epoch may have fewer. Each image of a
    step weighs the same, whatever the sizes of its batches.

    Args:
        learner: is changed.
        batches: at least one; those behind `begun`, perhaps none.
        epoch: of the trial, counted from 1.
        begun: where the epoch was left before.

    Raises:
        Left: the machine is about to go.
        TrialError: the loss is not finite.
        ResourceError: not even one image fits into the device's memory.
    """
    learner.backbone.train()
    learner.criterion = learner.criterion.at(epoch)
    group = learner.machine.group
    losses, lr, before = _Losses(epoch), 0.0, 0.0
    if begun is not None:
        losses, lr, before = _Losses(epoch, begun.losses, begun.images), begun.lr, begun.seconds
        for generators in begun.generators[group.rank : group.rank + 1]:  # none, where it was left by fewer processes
            restore_generators(generators, learner.machine.device)
    start = time.perf_counter()

    def progress() -> Progress:
        read, images = losses.so_far()  # waits for the device, so the clock is read after it
        seconds = before + time.perf_counter() - start
        return Progress(read, images, lr, seconds, group.gathered(generator_states(learner.machine.device)))

    for window in _windows(batches, learner.train.accumulate):
        if learner.machine.must_leave():
            raise Left(progress())
        alive()
        lr = learner.schedule.apply(learner.optimizer, step=learner.step)
        loss, images = _train_step(learner, window)
        losses.add(loss, num_images=images)
    done = progress()
    return TrainedEpoch(losses.mean(), lr, done.seconds, sum(done.images) / done.seconds, done)


def _train_step(learner: Learner, window: list[Pending]) -> tuple[Tensor, int]:
    """Makes one optimiser step from `window`; returns the mean loss, on the device, and the number of images."""
    group = learner.machine.group
    (num_images,) = group.totals(sum(batch.num_images for batch in window))
    while (loss := _gradient(learner, window, num_images=num_images)) is None:
        if learner.micro_batch == 1:
            raise too_large(learner.machine)
        learner.micro_batch = math.ceil(learner.micro_batch / 2)
        _log.warning(
            "Memory ran out: micro-batch %d of %d from here on, for the same steps.",
            learner.micro_batch, learner.whole_batch,
        )  # fmt: skip
        release_memory()
    trained = [parameter for settings in learner.optimizer.param_groups for parameter in settings["params"]]
    group.add([loss, *(parameter.grad for parameter in trained if parameter.grad is not None)])
    if learner.train.clip_grad is not None:
        clip_grad_norm_(trained, learner.train.clip_grad)
    learner.optimizer.step()
    group.average(moving_statistics(learner.backbone.model))
    learner.average.update(learner.backbone.model, step=learner.step)
    learner.step += 1
    return loss, num_images


def _gradient(learner: Learner, window: list[Pending], *, num_images: int) -> Tensor | None:
    """Computes this process's part of the gradient of the mean loss over `window`, `micro_batch` images at a time.

    Returns:
        Its part of the mean loss, or None if a device of the group ran out of memory: the caller takes a smaller
        `micro_batch`, which changes the memory and not the gradient (but for batch norm, which sees fewer images).
    """
    loss = _own_gradient(learner, window, num_images=num_images)
    (short,) = learner.machine.group.totals(loss is None)
    return None if short else loss


def _own_gradient(learner: Learner, window: list[Pending], *, num_images: int) -> Tensor | None:
    """Returns None where memory ran out: behind the `except` block, as its traceback holds the activations."""
    learner.optimizer.zero_grad()
    total = torch.zeros((), device=learner.machine.device)
    try:
        for pending in window:
            for batch in pending.to_device().parts(learner.micro_batch):
                with learner.machine.autocast():
                    logits = learner.forward(*batch.inputs)
                    loss = learner.criterion(logits, batch) / num_images
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
                total += loss.detach()
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return None
    return total


def too_large(machine: Machine) -> ResourceError:
    """Returns the error of a trial of which not even one image fits into memory."""
    held, total = held_mb(machine.device), total_mb(machine.device)
    return ResourceError(
        f"One image must fit into the device's memory, but even a batch of `1` does not: {held:.0f} of {total:.0f} MiB "
        "are held without it; lower `image_size` or freeze more stages."
    )


class _Losses:
    """The losses of an epoch's steps, left on the device until they are looked at together."""

    def __init__(self, epoch: int, losses: Sequence[float] = (), images: Sequence[int] = ()) -> None:
        self._epoch = epoch
        self._unread: list[Tensor] = []
        self._weights = list(images)
        self._read = list(losses)

    def add(self, loss: Tensor, *, num_images: int) -> None:
        """Takes in one step's mean loss."""
        self._unread.append(loss)
        self._weights.append(num_images)
        if len(self._unread) == _STEPS_BETWEEN_CHECKS:
            self._look()

    def so_far(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Returns the loss of each step and its number of images."""
        self._look()
        return tuple(self._read), tuple(self._weights)

    def mean(self) -> float:
        """Returns the mean loss over all images."""
        self._look()
        weighted = (loss * weight for loss, weight in zip(self._read, self._weights, strict=True))
        return math.fsum(weighted) / sum(self._weights)

    def _look(self) -> None:
        values: list[float] = torch.stack(self._unread).tolist() if self._unread else []
        for step, value in enumerate(values, start=len(self._read) + 1):
            if not math.isfinite(value):
                raise TrialError(
                    f"The training loss must be finite, but was `{value}` in epoch {self._epoch}, step {step}; "
                    "lower `lr`, or clip the gradient with `clip_grad`."
                )
        self._read += values
        self._unread.clear()


def _windows(batches: Iterable[Pending], size: int) -> Iterator[list[Pending]]:
    """Groups `batches` into lists of `size`; the last may be shorter."""
    stream = iter(batches)
    while window := list(islice(stream, size)):
        yield window

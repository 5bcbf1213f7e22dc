"""How fast a device is: a few real steps of a trial's own learner, and a few images through its own augmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final, final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from sweeper.backbones import build_backbone
from sweeper.data import DeviceBatch, TrainLoader
from sweeper.planning.images import FewImages
from sweeper.spec.training import AugmentSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.device import find_machine, release_memory
from sweeper.trial.evaluate import evaluate
from sweeper.trial.feed import Feed, Pending
from sweeper.trial.learner import Learner
from sweeper.trial.loop import train_epoch
from sweeper.trial.loss import Criterion

_SECONDS: Final = 1.0
"""A measurement ends after about so long; it takes at least two steps, whatever they last."""
_FIRST: Final = 4
"""Images of the first step, which warms up and says how many images the real one may have."""


class StepSeconds(BaseModel):
    """What one image costs on a device."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    train: float
    """Seconds in a training step: forward, backward, optimiser."""
    evaluate: float
    """Seconds in evaluation."""


def measure_step(config: TrialConfig, *, num_classes: int, device: str, threads: int) -> StepSeconds:
    """Trains and evaluates a few batches of random images, with random weights.

    A GPU is measured by a process of its own, since whoever uses one holds some of its memory to its end.

    Args:
        config: the trial; nothing frozen, or what is frozen would be known worse.
        num_classes: size of the head.
        device: `cpu` or `cuda:<index>`.
        threads: of the arithmetic on a CPU.

    Raises:
        InputError: the trial cannot run as asked.
        TrialError: the loss is not finite.
    """
    if device == "cpu":
        return _measured(config, num_classes, device, threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measured, config, num_classes, device, threads).result()


def measure_augmentation(images: FewImages, augment: AugmentSpec, *, image_size: int) -> float:
    """Returns the seconds that a thread needs to augment an image."""
    batch = min(8, len(images))
    loader = TrainLoader(images, augment, image_size=image_size, batch_size=batch, seed=0, threads=0)
    for _ in loader.epoch(1):
        break  # the first batch makes tables
    count, started = 0, time.process_time()
    for done in loader.epoch(2):
        count += len(done)
        if time.process_time() - started > _SECONDS / 5:
            break
    return (time.process_time() - started) / count


@contextmanager
def _stopwatch(device: str, threads: int) -> Iterator[list[float]]:
    """Gives a list that holds the seconds of the block afterwards.

    On a CPU they are the processor's, shared out among the threads: what else runs at this moment, a starting Ray
    among it, does not count.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: list[float] = []
    started = clock()
    yield seconds
    seconds.append((clock() - started) / (threads if device == "cpu" else 1))


def _measured(config: TrialConfig, num_classes: int, device: str, threads: int) -> StepSeconds:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            return _timed(config, num_classes, device, threads)
    finally:
        torch.set_num_threads(before)
        release_memory()


def _timed(config: TrialConfig, num_classes: int, device: str, threads: int) -> StepSeconds:
    train = config.train.model_copy(update={"lr": 1e-6})  # of random weights: a loss must stay a number
    machine = find_machine(device, precision=train.precision)
    backbone = build_backbone(config, num_classes=num_classes, weights=None)
    layout = torch.channels_last if train.channels_last else torch.contiguous_format
    backbone.model.to(machine.device).to(memory_format=layout)
    backbone.freeze(0)

    def batches(images: int, count: int = 1) -> _Batches:
        size = backbone.image_size
        inputs = [torch.randn(images, 3, size, size).to(machine.device, memory_format=torch.channels_last)]
        if backbone.takes_metadata:
            inputs.append(torch.zeros(images, 7, device=machine.device))
        labels = torch.randint(num_classes, (images,), device=machine.device)
        pending = Pending(images, np.arange(images), lambda: DeviceBatch(tuple(inputs), labels))
        return _Batches(pending, count)

    learner = Learner.start(backbone, train, feed=batches(1), machine=machine, criterion=Criterion())

    def step_seconds(images: int, count: int = 1) -> float:
        """Returns seconds an image; reading the loss waits for the device."""
        with _stopwatch(device, threads) as seconds:
            train_epoch(learner, batches(images, count).epoch(1), epoch=1)
        return seconds[0] / (images * count)

    images = min(_FIRST, train.batch_size)
    seconds = step_seconds(images)
    if seconds * images < _SECONDS:
        again = step_seconds(images)
        images = max(images, min(train.batch_size, int(_SECONDS / 3 / again)))
        step_seconds(images)
        seconds = step_seconds(images, max(1, min(8, int(_SECONDS / 3 / (again * images)))))
    counts = ClassCounts.of(np.arange(num_classes), config, num_classes=num_classes).to(machine.device)
    evaluate(learner.average.model, batches(images), counts=counts, machine=machine)  # warms up
    with _stopwatch(device, threads) as evaluated:
        evaluate(learner.average.model, batches(images), counts=counts, machine=machine)
    return StepSeconds(train=seconds, evaluate=evaluated[0] / images)


@final
@dataclass(frozen=True, eq=False)
class _Batches(Feed):
    """One batch, some times over, through the whole model."""

    batch: Pending
    count: int

    @property
    def batches_per_epoch(self) -> int:
        """Batches."""
        return self.count

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Pending, None, None]:
        """Yields the batch again and again."""
        yield from [self.batch] * self.count

    def validation(self) -> Iterator[Pending]:
        """Yields the batch."""
        yield self.batch

    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        """Returns the model itself."""
        return model

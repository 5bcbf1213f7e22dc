"""Everything that training changes, in one value that can be saved and restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer

from sweeper.backbones import Backbone
from sweeper.records import EpochMetrics
from sweeper.spec.training import TrainSpec
from sweeper.trial.checkpoint import Checkpoint
from sweeper.trial.device import Machine
from sweeper.trial.ema import Average, start_average
from sweeper.trial.feed import Feed
from sweeper.trial.loss import Criterion
from sweeper.trial.optimizer import create_optimizer
from sweeper.trial.progress import Progress
from sweeper.trial.schedule import CosineSchedule


@dataclass
class Learner:
    """A backbone on its device with its optimiser, schedule and average, for the epochs of one phase."""

    backbone: Backbone
    forward: Callable[..., Tensor]
    """What of the backbone's model takes the inputs of a batch and gives logits (B, C)."""
    criterion: Criterion
    optimizer: Optimizer
    schedule: CosineSchedule
    average: Average
    train: TrainSpec
    machine: Machine
    micro_batch: int
    """Images in one forward and backward pass: a process's part of a batch, or less once memory ran out."""
    step: int = 0
    """Optimiser steps done so far in this phase."""

    @classmethod
    def start(
        cls, backbone: Backbone, train: TrainSpec, *, feed: Feed, machine: Machine, criterion: Criterion
    ) -> Learner:
        """Sets up training from the first step.

        Args:
            backbone: on the device, and frozen as it is to be.
            train: the settings of the phase.
            feed: where its batches come from.
            machine: what it trains on.
            criterion: what training makes smaller.

        Raises:
            SpecError: there is no such optimiser.
        """
        return cls(
            backbone=backbone,
            forward=feed.network(backbone.model),
            criterion=criterion,
            optimizer=create_optimizer(backbone, train),
            schedule=CosineSchedule.over(train, steps_per_epoch=-(-feed.batches_per_epoch // train.accumulate)),
            average=start_average(backbone.model, decay=train.ema_decay),
            train=train,
            machine=machine,
            micro_batch=_part_of(train, machine),
        )

    @property
    def whole_batch(self) -> int:
        """Images of a batch that this process trains on."""
        return _part_of(self.train, self.machine)

    def limit(self, micro_batch: int | None) -> None:
        """Takes at most so many images in one pass from here on."""
        self.micro_batch = min(self.micro_batch, micro_batch or self.micro_batch)

    def checkpoint(
        self, *, config_hash: str, history: tuple[EpochMetrics, ...], progress: Progress | None = None
    ) -> Checkpoint:
        """Returns the present state; its tensors go on changing with the training."""
        return Checkpoint(
            config_hash=config_hash,
            history=history,
            step=self.step,
            micro_batch=self.micro_batch,
            model=self.backbone.model.state_dict(),
            average=self.average.state_dict(),
            optimizer=self.optimizer.state_dict(),
            progress=None if progress is None else vars(progress),
        )

    def restore(self, saved: Checkpoint) -> None:
        """Goes back to the state of `saved`."""
        self.backbone.model.load_state_dict(saved.model)
        self.average.load_state_dict(saved.average)
        self.optimizer.load_state_dict(saved.optimizer)
        self.step = saved.step
        self.limit(saved.micro_batch)


def _part_of(train: TrainSpec, machine: Machine) -> int:
    return -(-train.batch_size // machine.group.size)

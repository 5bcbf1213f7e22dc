"""The learning rate of every optimiser step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer

from sweeper.spec.training import TrainSpec


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine down to `min_lr` (Loshchilov and Hutter, 2017), a value a step."""

    lr: float
    """The peak, for a group whose scale is 1."""
    min_lr: float
    """Where the cosine ends, for a group whose scale is 1; above `lr` it counts as `lr`."""
    warmup_steps: int
    total_steps: int

    @classmethod
    def over(cls, train: TrainSpec, *, steps_per_epoch: int) -> CosineSchedule:
        """Lays the schedule over all epochs of a trial."""
        return cls(
            lr=train.lr,
            min_lr=train.min_lr,
            warmup_steps=round(train.warmup_epochs * steps_per_epoch),
            total_steps=train.epochs * steps_per_epoch,
        )

    def factor(self, step: int) -> float:
        """Returns the learning rate of `step`, counted from 0, as a share of the peak.

        The warm-up's first step is one n-th of the peak and not 0, so that no step is lost; the cosine's
        last step is at `min_lr`.
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        floor = min(self.min_lr / self.lr, 1.0)
        length = max(self.total_steps - 1 - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / length, 1.0)
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def apply(self, optimizer: Optimizer, *, step: int) -> float:
        """Sets each group's learning rate for `step`, the group's `lr_scale` included.

        timm and our backbones only write `lr_scale`; unless somebody multiplies by it, as here, layer decay
        does nothing.

        Returns:
            The largest learning rate set.
        """
        for group in optimizer.param_groups:
            group["lr"] = self.lr * group["lr_scale"] * self.factor(step)
        return max(float(group["lr"]) for group in optimizer.param_groups)

"""What a step makes smaller: a loss of the labels, and the divergence from a teacher."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch.nn.functional as F
from torch import Tensor

from sweeper.data import DeviceBatch
from sweeper.trial.label_losses import CrossEntropy, LabelLoss
from sweeper.trial.teacher import Teacher


@dataclass(frozen=True, eq=False)
class Criterion:
    """The loss of a batch, summed over its images, so that parts of a step can be added up."""

    labels: LabelLoss = field(default_factory=CrossEntropy)
    """The labels' part."""
    teacher: Teacher | None = None
    """None learns from the labels alone."""
    weight: float = 0.5
    """Share of the teacher's part."""
    temperature: float = 2.0
    """Both sides' logits are divided by it before they are compared."""

    def __call__(self, logits: Tensor, batch: DeviceBatch) -> Tensor:
        """Returns the loss of logits (B, C), a scalar.

        The teacher sees the very images the student sees, mixed ones included (Beyer et al. 2022). Its part is
        the Kullback-Leibler divergence times the temperature squared, which keeps its gradient's size whatever
        the temperature (Hinton et al. 2015). It compares the logits themselves, whatever the labels' part adds
        to them.
        """
        logits = logits.float()
        loss = self.labels(logits, batch.targets)
        if self.teacher is None:
            return loss
        student = F.log_softmax(logits / self.temperature, dim=1)
        teacher = F.log_softmax(self.teacher(batch).float() / self.temperature, dim=1)
        divergence = F.kl_div(student, teacher, reduction="sum", log_target=True) * self.temperature**2
        return (1.0 - self.weight) * loss + self.weight * divergence

    def at(self, epoch: int) -> Criterion:
        """Returns the criterion as it is in an epoch of the trial, counted from 1."""
        return replace(self, labels=self.labels.at(epoch))

"""How many training images each class has: what losses for long tails and metrics by class size go by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeper.data.sampling import class_shares
from sweeper.errors import SpecError
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.trial import TrialConfig

GROUPS = ("head", "middle", "tail")
"""Of the classes, by their number of training images."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """The training images of each class, and how often training shows the class."""

    images: Tensor
    """(C,) float64, at least 1: a class that lost all its images counts as if it had one."""
    shares: Tensor
    """(C,) float64, above 0, adds up to 1: of the images that training shows, the sampler considered."""
    groups: Tensor
    """(3, C) bool: whether a class is in the head, the middle or the tail of the distribution."""

    @classmethod
    def of(cls, labels: npt.NDArray[np.int64], config: TrialConfig, *, num_classes: int) -> ClassCounts:
        """Counts the labels of the training split.

        Args:
            labels: (N,): of the training images.
            config: whose sampler and whose limits of head and tail count.
            num_classes: C.
        """
        counts = np.bincount(labels, minlength=num_classes)
        shares = class_shares(np.maximum(counts, 1), config.train.sampler)
        return cls(
            images=torch.from_numpy(np.maximum(counts, 1).astype(np.float64)),
            shares=torch.from_numpy(shares),
            groups=torch.from_numpy(_groups(counts, config.eval)),
        )

    def to(self, device: torch.device) -> ClassCounts:
        """Returns the counts on a device."""
        return ClassCounts(self.images.to(device), self.shares.to(device), self.groups.to(device))


def check_objective(config: TrialConfig, labels: npt.NDArray[np.int64], *, num_classes: int) -> None:
    """Refuses an objective over a group of classes that is empty.

    Args:
        config: the trial.
        labels: (N,): of the training images.
        num_classes: C.

    Raises:
        SpecError: no class is in the group that `objective` names.
    """
    counts = np.bincount(labels, minlength=num_classes)
    for group, members in zip(GROUPS, _groups(counts, config.eval), strict=True):
        if config.objective == f"recall_{group}" and not members.any():
            raise SpecError(
                f"`objective: recall_{group}` needs classes in the {group} of the distribution, but there are none: "
                f"they have {counts.min()} to {counts.max()} training images; set `eval.head_above`, now "
                f"{config.eval.head_above}, or `eval.tail_below`, now {config.eval.tail_below}."
            )


def _groups(counts: npt.NDArray[np.int64], spec: EvalSpec) -> npt.NDArray[np.bool_]:
    head, tail = counts > spec.head_above, counts < spec.tail_below
    return np.stack([head, ~head & ~tail, tail])

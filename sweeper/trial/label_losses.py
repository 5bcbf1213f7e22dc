"""Losses of logits against labels, also for classes of very different sizes, summed over the images of a batch.

In all of them z are an image's logits, y its class, t its target probabilities, n the number of training
images of a class, pi its share of what training shows, p the softmax of z. Weights of classes are scaled so
that they average to 1 over the images shown, as torch's weighted mean does, but whatever the batch holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Final, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sweeper.errors import SpecError
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.class_counts import ClassCounts

_ONE_LABEL: Final = ("ldam_drw", "seesaw")
"""Losses that treat the one right class apart, and so have no meaning for mixed or smoothed labels."""
_SMALLEST_OWN: Final = 0.01
"""Seesaw compares with at least this probability of the right class, which bounds its factor (the authors' `eps`)."""


class LabelLoss(ABC):
    """A loss of logits against labels."""

    @abstractmethod
    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss summed over images, a scalar.

        Args:
            logits: (B, C), in full precision.
            targets: (B,) int64 labels, or (B, C) class probabilities.
        """

    def at(self, epoch: int) -> LabelLoss:
        """Returns the loss as it is in an epoch of the trial, counted from 1; most do not change."""
        return self


@final
@dataclass(frozen=True, eq=False)
class CrossEntropy(LabelLoss):
    """Cross entropy of shifted logits with weighted classes: -sum_c t_c w_c log softmax(z + shift)_c.

    `cross_entropy` has neither. `logit_adjustment` (Menon et al. 2021) shifts by tau log pi, so that the logits
    themselves come to rank classes as if all were equally frequent; `balanced_softmax` (Ren et al. 2020) is the
    same with tau 1. `class_balanced` (Cui et al. 2019) weights by the inverse effective number of images,
    (1 - beta) / (1 - beta^n).
    """

    label_smoothing: float = 0.0
    shift: Tensor | None = None
    """(C,)."""
    weight: Tensor | None = None
    """(C,)."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss summed over images."""
        if self.shift is not None:
            logits = logits + self.shift.to(logits.dtype)
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        return F.cross_entropy(logits, targets, weight, label_smoothing=self.label_smoothing, reduction="sum")


@final
@dataclass(frozen=True, eq=False)
class Focal(LabelLoss):
    """Focal loss over classes (Lin et al. 2017, without its alpha): -sum_c t_c (1 - p_c)^gamma log p_c."""

    gamma: float
    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss summed over images."""
        log_p = F.log_softmax(logits, dim=1)
        # Bounded: below an exponent of 1 the derivative at 0 would be infinite.
        missing = (-torch.expm1(log_p)).clamp(min=1e-12)
        return -(_shares(targets, logits, self.label_smoothing) * missing**self.gamma * log_p).sum()


@final
@dataclass(frozen=True, eq=False)
class LDAM(LabelLoss):
    """Label-distribution-aware margins, weights of classes deferred (LDAM-DRW, Cao et al. 2019).

    Cross entropy of logits of which the right one is lowered by a margin in proportion to n^(-1/4). The authors
    normalise features and classifier and multiply by 30: that is `head: {type: cosine, scale: 30}`.
    """

    margins: Tensor
    """(C,), in units of the logits."""
    weight: Tensor
    """(C,): of the classes, once they are weighted."""
    deferred: int
    """The last epoch without weights."""
    weighted: bool = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss summed over images."""
        margins = F.one_hot(targets, logits.shape[1]) * self.margins.to(logits.dtype)
        weight = self.weight.to(logits.dtype) if self.weighted else None
        return F.cross_entropy(logits - margins, targets, weight, reduction="sum")

    def at(self, epoch: int) -> LabelLoss:
        """Returns the loss with weighted classes after the deferral, without before."""
        return replace(self, weighted=epoch > self.deferred)


@final
@dataclass(frozen=True, eq=False)
class Seesaw(LabelLoss):
    """Seesaw loss (Wang et al. 2021): each wrong class j weighs S = M C in the softmax of an image of class y.

    M = min(1, n_j / n_y)^p spares rare classes the gradients of frequent ones; C = max(1, p_j / p_y)^q takes that
    back where j is guessed. The authors count the images that went by; here all of the split count from the start.
    """

    log_mitigation: Tensor
    """(C, C): log M, a row for each right class."""
    compensation: float

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss summed over images."""
        p = logits.detach().softmax(dim=1)
        own = p.gather(1, targets[:, None]).clamp(min=_SMALLEST_OWN)
        log_compensation = self.compensation * (p / own).clamp(min=1.0).log()
        # Of the right class itself both factors are 1, but where the bound above acts.
        log_factors = (self.log_mitigation.to(logits.dtype)[targets] + log_compensation).scatter(
            1, targets[:, None], 0.0
        )
        return F.cross_entropy(logits + log_factors, targets, reduction="sum")


def check_loss(config: TrialConfig) -> None:
    """Refuses mixed or smoothed labels for a loss that has no meaning for them.

    Raises:
        SpecError: the loss needs one label an image.
    """
    train, augment = config.train, config.augment
    if train.loss in _ONE_LABEL and (augment.mixup or augment.cutmix or train.label_smoothing):
        raise SpecError(
            f"`loss: {train.loss}` needs one label an image; set `augment.mixup`, `augment.cutmix` and "
            "`label_smoothing` to 0, or give them a `when` on `loss`."
        )


def label_loss(config: TrialConfig, counts: ClassCounts) -> LabelLoss:
    """Returns the labels' part of a trial's loss.

    Args:
        config: the trial as a whole: `loss_drw` is a share of all its epochs.
        counts: of the training images, on the device.

    Raises:
        SpecError: as `check_loss`.
    """
    check_loss(config)
    train = config.train
    smoothing, log_shares = train.label_smoothing, counts.shares.log()
    match train.loss:
        case "cross_entropy":
            return CrossEntropy(smoothing)
        case "balanced_softmax":
            return CrossEntropy(smoothing, shift=log_shares.float())
        case "logit_adjustment":
            return CrossEntropy(smoothing, shift=(train.loss_tau * log_shares).float())
        case "class_balanced":
            return CrossEntropy(smoothing, weight=_effective_weights(train, counts))
        case "focal":
            return Focal(train.loss_gamma, smoothing)
        case "ldam_drw":
            return _ldam(config, counts)
        case "seesaw":
            ratio = counts.images[None, :] / counts.images[:, None]
            log_mitigation = train.loss_mitigation * ratio.clamp(max=1.0).log()
            return Seesaw(log_mitigation.float(), train.loss_compensation)


def _ldam(config: TrialConfig, counts: ClassCounts) -> LabelLoss:
    train, quarter = config.train, counts.images**-0.25
    scale = config.head.scale if config.head.type == "cosine" else 1.0
    return LDAM(
        margins=(scale * train.loss_margin * quarter / quarter.max()).float(),
        weight=_effective_weights(train, counts),
        deferred=round(train.loss_drw * train.epochs),
    )


def _effective_weights(train: TrainSpec, counts: ClassCounts) -> Tensor:
    """Returns the inverse effective number of images of each class, (C,), on average 1 over what is shown."""
    weights = (1.0 - train.loss_beta) / (1.0 - train.loss_beta**counts.images)
    return (weights / (counts.shares * weights).sum()).float()


def _shares(targets: Tensor, logits: Tensor, smoothing: float) -> Tensor:
    num_classes = logits.shape[1]
    shares = targets if targets.ndim == 2 else F.one_hot(targets, num_classes).to(logits.dtype)
    return (1.0 - smoothing) * shares + smoothing / num_classes

"""Exact metrics of a model over a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.device import Machine, release_memory
from sweeper.trial.feed import Feed, Pending
from sweeper.trial.group import Group
from sweeper.trial.loop import too_large
from sweeper.trial.memory import ran_out
from sweeper.trial.watchdog import alive

_TAUS: Final = tuple(step / 10 for step in range(21))
"""The strengths of post-hoc logit adjustment that are tried: 0 to 2, as Kang et al. 2020 try their tau."""

_WHOLE: Final = 2**31
"""More rows than a batch has."""

_KEPT_ON_DEVICE: Final = 2**25
"""Logits that stay on the device, 64 MiB."""


@dataclass(frozen=True)
class Scores:
    """The metrics of one split, as `EpochMetrics` defines them."""

    top1: float
    top5: float
    macro_f1: float
    balanced_accuracy: float
    val_loss: float
    recall_head: float | None
    recall_middle: float | None
    recall_tail: float | None
    tau: float
    balanced_accuracy_adjusted: float
    top1_adjusted: float


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model says of a split."""

    scores: Scores
    logits: npt.NDArray[np.float16] | None
    """(N, C), each row's largest 0; None where they were not to be kept."""
    indices: npt.NDArray[np.int64]
    """(N,): which image of the split each row is of; one that cannot be read has none."""


@torch.no_grad()  # not inference_mode: what a model caches here must serve in training too
def evaluate(
    model: nn.Module, feed: Feed, *, counts: ClassCounts, machine: Machine, keep: bool = False
) -> Judged | None:
    """Scores `model` on all validation images of `feed`, each counting once, whichever process of the group sees it.

    Args:
        model: is put into eval mode.
        feed: has at least one validation image.
        counts: of the training images, on the device; their length is the width C of the logits.
        machine: what the model runs on.
        keep: keep the logits as well.

    Returns:
        None where the machine is about to go: the evaluation was left.
    """
    model.eval()
    forward = feed.network(model)
    tally, kept = Tally(counts), _Kept()
    indices: list[npt.NDArray[np.int64]] = []
    most = _WHOLE
    for pending in feed.validation():
        if machine.must_leave():
            return None
        alive()
        if pending.num_images == 0:  # the last batch has fewer images than there are processes
            continue
        while (found := _forward(pending, forward, machine, most=most)) is None:
            if most == 1:
                raise too_large(machine)
            most = math.ceil(min(most, pending.num_images) / 2)
            release_memory()
        rows, targets = found
        logits = averaged(rows, views=feed.views)
        tally.add(logits, targets[:: feed.views])
        indices.append(pending.indices[:: feed.views])
        if keep:
            kept.add(logits)
    machine.group.add(tally.counts)
    return Judged(tally.scores(), *_in_order(kept, indices, group=machine.group, keep=keep))


def _in_order(
    kept: _Kept, indices: list[npt.NDArray[np.int64]], *, group: Group, keep: bool
) -> tuple[npt.NDArray[np.float16] | None, npt.NDArray[np.int64]]:
    """Returns the logits of all processes in the order of the split, and which images they are of."""
    own = (kept.logits() if keep and indices else None, np.concatenate([np.empty(0, np.int64), *indices]))
    if group.size == 1:
        return own
    parts = group.gathered(own)
    rows = np.concatenate([part for _, part in parts])
    order = np.argsort(rows)
    logits = [part for part, _ in parts if part is not None]
    return np.concatenate(logits)[order] if keep else None, rows[order]


def _forward(
    pending: Pending, forward: Callable[..., Tensor], machine: Machine, *, most: int
) -> tuple[Tensor, Tensor] | None:
    """Returns the logits of a batch, at most `most` rows at a time, and its targets; None where memory ran out."""
    try:
        batch = pending.to_device()
        with machine.autocast():
            logits = [forward(*part.inputs).float() for part in batch.parts(most)]
        return torch.cat(logits), batch.targets
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return None


def averaged(logits: Tensor, *, views: int) -> Tensor:
    """Returns logits (B, C) of the mean probabilities of each image's views, given theirs (B x views, C)."""
    if views == 1:
        return logits
    log_shares = F.log_softmax(logits, dim=1).view(-1, views, logits.shape[1])
    return log_shares.logsumexp(dim=1) - math.log(views)


class _Kept:
    """Logits in half the memory; on the device while they are few, as a copy makes the host wait."""

    def __init__(self) -> None:
        self._on_device: list[Tensor] = []
        self._here: list[Tensor] = []

    def add(self, logits: Tensor) -> None:
        """Takes logits (B, C). Their largest becomes 0, near which float16 is most exact; no softmax sees that."""
        shifted = logits - logits.amax(dim=1, keepdim=True)
        self._on_device.append(shifted.clamp(min=torch.finfo(torch.float16).min).half())
        if sum(part.numel() for part in self._on_device) > _KEPT_ON_DEVICE:
            self._move()

    def logits(self) -> npt.NDArray[np.float16]:
        """Returns all of them, (N, C)."""
        self._move()
        return torch.cat(self._here).numpy()

    def _move(self) -> None:
        if self._on_device:
            self._here.append(torch.cat(self._on_device).cpu())
            self._on_device.clear()


class Tally:
    """Counts per class, on the device, from which all metrics follow.

    They are the diagonal and the two margins of the confusion matrix: what F1 and recall need of it, in
    C numbers each instead of C x C. The diagonal is counted once more for each strength of post-hoc logit
    adjustment (Menon et al. 2021): argmax of logits - tau log(class share), which retrains nothing.
    """

    def __init__(self, counts: ClassCounts) -> None:
        self._groups = counts.groups
        self._log_shares = counts.shares.log().float()
        self._num_classes = num_classes = len(counts.shares)
        device = counts.shares.device
        self._actual, self._predicted = torch.zeros(2, num_classes, dtype=torch.int64, device=device).unbind()
        # A row for each tau; the first, of 0, is the model as it is.
        self._hits = torch.zeros(len(_TAUS), num_classes, dtype=torch.int64, device=device)
        self._top5 = torch.zeros((), dtype=torch.int64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Counts logits (B, C) against labels (B,)."""
        best = logits.topk(min(5, self._num_classes), dim=1).indices
        right = best == labels[:, None]
        # scatter_add_ and not bincount or a mask: those make the host wait for the device.
        self._hits[0].scatter_add_(0, labels, right[:, 0].long())
        for hits, tau in zip(self._hits[1:], _TAUS[1:], strict=True):
            adjusted = torch.argmax(logits - tau * self._log_shares, dim=1)
            hits.scatter_add_(0, labels, (adjusted == labels).long())
        self._actual.scatter_add_(0, labels, torch.ones_like(labels))
        self._predicted.scatter_add_(0, best[:, 0], torch.ones_like(labels))
        self._top5 += right.sum()
        self._loss += F.cross_entropy(logits, labels, reduction="none").double().sum()

    @property
    def counts(self) -> tuple[Tensor, ...]:
        """All that was counted; those of several tallies can be added up in place."""
        return self._hits, self._actual, self._predicted, self._top5, self._loss

    def scores(self) -> Scores:
        """Returns the metrics of all images counted.

        Macro F1 averages over the classes that occur among labels or predictions, balanced accuracy over
        those among labels, as scikit-learn does. The tau is the smallest of those with the best balanced accuracy.
        """
        hits, actual, predicted = self._hits[0].double(), self._actual.double(), self._predicted.double()
        num_images = float(actual.sum())
        occurs, labelled = actual + predicted > 0, actual > 0
        f1 = 2.0 * hits[occurs] / (actual + predicted)[occurs]
        recall = self._hits.double()[:, labelled] / actual[labelled]
        balanced: list[float] = recall.mean(dim=1).tolist()
        chosen = balanced.index(max(balanced))
        head, middle, tail = (_mean(recall[0, group[labelled]]) for group in self._groups)
        return Scores(
            top1=float(hits.sum()) / num_images,
            top5=float(self._top5) / num_images,
            macro_f1=float(f1.mean()),
            balanced_accuracy=balanced[0],
            val_loss=float(self._loss) / num_images,
            recall_head=head,
            recall_middle=middle,
            recall_tail=tail,
            tau=_TAUS[chosen],
            balanced_accuracy_adjusted=balanced[chosen],
            top1_adjusted=float(self._hits[chosen].sum()) / num_images,
        )


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None

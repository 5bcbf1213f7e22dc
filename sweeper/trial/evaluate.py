"""Exact metrics of a model over a whole split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweeper.trial.device import Machine
from sweeper.trial.feed import Feed


@dataclass(frozen=True)
class Scores:
    """The metrics of one split, as `EpochMetrics` defines them."""

    top1: float
    top5: float
    macro_f1: float
    balanced_accuracy: float
    val_loss: float


@torch.no_grad()  # not inference_mode: what a model caches here must serve in training too
def evaluate(model: nn.Module, feed: Feed, *, num_classes: int, machine: Machine) -> Scores:
    """Scores `model` on all validation images of `feed`, each counting once.

    Args:
        model: is put into eval mode.
        feed: has at least one validation image.
        num_classes: the width C of the logits.
        machine: what the model runs on.
    """
    model.eval()
    forward = feed.network(model)
    tally = Tally(num_classes, device=machine.device)
    for pending in feed.validation():
        batch = pending.to_device()
        with machine.autocast():
            logits = forward(*batch.inputs)
        tally.add(logits.float(), batch.targets)
    return tally.scores()


class Tally:
    """Counts per class, on the device, from which all metrics follow.

    They are the diagonal and the two margins of the confusion matrix: what F1 and recall need of it, in
    C numbers each instead of C x C.
    """

    def __init__(self, num_classes: int, *, device: torch.device) -> None:
        self._num_classes = num_classes
        self._hits, self._actual, self._predicted = torch.zeros(
            3, num_classes, dtype=torch.int64, device=device
        ).unbind()
        self._top5 = torch.zeros((), dtype=torch.int64, device=device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Counts logits (B, C) against labels (B,)."""
        best = logits.topk(min(5, self._num_classes), dim=1).indices
        right = best == labels[:, None]
        # scatter_add_ and not bincount or a mask: those make the host wait for the device.
        self._hits.scatter_add_(0, labels, right[:, 0].long())
        self._actual.scatter_add_(0, labels, torch.ones_like(labels))
        self._predicted.scatter_add_(0, best[:, 0], torch.ones_like(labels))
        self._top5 += right.sum()
        self._loss += F.cross_entropy(logits, labels, reduction="none").double().sum()

    def scores(self) -> Scores:
        """Returns the metrics of all images counted.

        Macro F1 averages over the classes that occur among labels or predictions, balanced accuracy over
        those among labels, as scikit-learn does.
        """
        hits, actual, predicted = self._hits.double(), self._actual.double(), self._predicted.double()
        num_images = float(actual.sum())
        occurs, labelled = actual + predicted > 0, actual > 0
        f1 = 2.0 * hits[occurs] / (actual + predicted)[occurs]
        recall = hits[labelled] / actual[labelled]
        return Scores(
            top1=float(hits.sum()) / num_images,
            top5=float(self._top5) / num_images,
            macro_f1=float(f1.mean()),
            balanced_accuracy=float(recall.mean()),
            val_loss=float(self._loss) / num_images,
        )

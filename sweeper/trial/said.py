"""What a model said of the images of a split becomes a predictions file's contents."""

from __future__ import annotations

from typing import Final

from sweeper.data import ImageSet, ImageSplit, StreamSplit
from sweeper.predictions import Predictions, PredictionsInfo
from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.evaluate import Judged

_MOST_LOGITS: Final = 2**27
"""That are kept of a split, 256 MiB: a sweep has many trials."""


def is_kept(images: ImageSet, split: ImageSplit | StreamSplit) -> bool:
    """Whether what is said of the images of a split is kept one by one."""
    return len(split) * len(images.classes) <= _MOST_LOGITS


def predictions_of(
    judged: Judged, images: ImageSet, split: ImageSplit | StreamSplit, *, counts: ClassCounts, epoch: int
) -> Predictions | None:
    """Returns what was said of each image; None where it was not kept.

    Args:
        judged: from `evaluate`.
        images: the data set.
        split: which of its images were judged.
        counts: of the training images.
        epoch: that said it.
    """
    if judged.logits is None:
        return None
    return Predictions(
        logits=judged.logits,
        labels=split.labels[judged.indices],
        numbers=split.numbers[judged.indices],
        class_shares=counts.shares.cpu().numpy(),
        groups=counts.groups.cpu().numpy(),
        info=PredictionsInfo(
            epoch=epoch,
            tau=judged.scores.tau,
            classes=images.classes,
            data_fingerprint=images.fingerprint,
            split_fingerprint=images.split_fingerprint,
        ),
    )

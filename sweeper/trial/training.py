"""The training of one phase: an epoch is a pass over the training images and an evaluation."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property

from torch import Tensor

from sweeper.backbones import merged_state
from sweeper.data import ImageSet, ImageSplit, StreamSplit
from sweeper.errors import TrialError
from sweeper.paths import TrialPaths, Writer, written_aside
from sweeper.predictions import save_predictions
from sweeper.records import EpochMetrics
from sweeper.trial.checkpoint import save_weights
from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.costs import Costs, measure_costs
from sweeper.trial.evaluate import Judged, Scores, evaluate
from sweeper.trial.feed import Feed
from sweeper.trial.learner import Learner
from sweeper.trial.loop import TrainedEpoch, train_epoch
from sweeper.trial.progress import Left, Progress
from sweeper.trial.said import is_kept, predictions_of


@dataclass(frozen=True, eq=False)
class Training:
    """A learner and its batches."""

    learner: Learner
    feed: Feed
    counts: ClassCounts
    """Of the training images, on the device."""
    images: ImageSet

    def epoch(self, epoch: int, *, begun: Progress | None = None) -> tuple[EpochMetrics, Judged]:
        """Trains epoch `epoch` of the trial and evaluates what came out, which is returned as well.

        Args:
            epoch: counted from 1.
            begun: where it was left before; the learner is as it was then.

        Raises:
            Left: the machine is about to go; the epoch was left at a step, or in its evaluation.
            TrialError: a loss is not finite.
            ResourceError: not even one image fits into the device's memory.
        """
        skip = 0 if begun is None else begun.steps * self.learner.train.accumulate
        with closing(self.feed.epoch(epoch, skip=skip)) as batches:
            trained = train_epoch(self.learner, batches, epoch=epoch, begun=begun)
        started = time.perf_counter()
        machine = self.learner.machine
        keep = is_kept(self.images, self._validation)
        average = self.learner.average.model
        judged = evaluate(average, self.feed, counts=self.counts, machine=machine, keep=keep)
        if judged is None:
            raise Left(trained.progress)
        seconds = time.perf_counter() - started
        metrics = _metrics(epoch, trained, judged.scores, eval_seconds=seconds, peak_memory_mb=machine.peak_memory_mb())
        micro_batch = self.learner.micro_batch if self.learner.micro_batch < self.learner.whole_batch else None
        return metrics.model_copy(update={**asdict(self._costs), "micro_batch": micro_batch}), judged

    @cached_property
    def _costs(self) -> Costs:
        # Once a phase: training does not change it, and the size of the images may be another in the next one.
        return measure_costs(self.learner.backbone, self.learner.machine)

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights that are evaluated, low-rank updates merged in, in the CPU's memory."""
        return {name: tensor.cpu() for name, tensor in merged_state(self.learner.average.model).items()}

    @property
    def _validation(self) -> ImageSplit | StreamSplit:
        return self.images.split("val")

    def keep(
        self, paths: TrialPaths, metrics: EpochMetrics, judged: Judged, *, written: Writer = written_aside
    ) -> None:
        """Replaces the trial's best weights by these, with what predicting with them needs to know.

        Their header has the class names, the image size, the share of each class in what training showed, and `tau`:
        how much of the log share to take off the logits to treat classes alike. And so that the file explains itself
        wherever it goes: the metrics of its epoch and the fingerprint of the data. What was said of each validation
        image is written beside them, unless it would take more than 256 MiB.
        """
        about = {
            "classes": json.dumps(self.images.classes),
            "image_size": str(self.learner.backbone.image_size),
            "class_shares": json.dumps(self.counts.shares.tolist()),
            "tau": json.dumps(metrics.tau),
            "metrics": metrics.model_dump_json(),
            "data_fingerprint": self.images.fingerprint,
        }
        save_weights(self.weights(), paths.best, about=about, written=written)
        said = predictions_of(judged, self.images, self._validation, counts=self.counts, epoch=metrics.epoch)
        if said is None:
            paths.predictions.unlink(missing_ok=True)
        else:
            save_predictions(said, paths.predictions, written=written)

    def __str__(self) -> str:
        """What trains, on what, at which size."""
        backbone = self.learner.backbone
        share, size = 100 * backbone.trained_share, backbone.image_size
        return f"{share:.1f} % of {backbone.name} at {size} px on {self.learner.machine.device}"


def _metrics(
    epoch: int, trained: TrainedEpoch, scores: Scores, *, eval_seconds: float, peak_memory_mb: float
) -> EpochMetrics:
    """Puts an epoch together.

    Raises:
        TrialError: the validation loss is not finite; neither are the weights then.
    """
    if not math.isfinite(scores.val_loss):
        raise TrialError(
            f"The validation loss must be finite, but was `{scores.val_loss}` after epoch {epoch}; "
            "lower `lr`, or clip the gradient with `clip_grad`."
        )
    return EpochMetrics(
        epoch=epoch,
        eval_seconds=eval_seconds,
        peak_memory_mb=peak_memory_mb,
        train_loss=trained.train_loss,
        lr=trained.lr,
        train_seconds=trained.train_seconds,
        images_per_second=trained.images_per_second,
        **asdict(scores),
    )

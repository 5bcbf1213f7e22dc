"""The held-out test, which no trial sees: scored with a finished trial's weights, when everything is decided."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from sweeper.backbones import read_saved_model
from sweeper.data import EvalStream, ImageSplit, StreamSplit, open_images
from sweeper.errors import TrialError
from sweeper.predictions import Predictions
from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.device import find_machine
from sweeper.trial.evaluate import evaluate
from sweeper.trial.feed import ImageFeed, open_image_feed
from sweeper.trial.phases import Phase, stored_data
from sweeper.trial.runtime import Runtime
from sweeper.trial.said import is_kept, predictions_of


def score_held_out(folder: Path, *, runtime: Runtime) -> tuple[dict[str, float], Predictions | None]:
    """Scores a finished trial's best weights on the test split, exactly as its epochs were on the validation split.

    Args:
        folder: of the trial.
        runtime: what to run on.

    Returns:
        The metrics by name, and what was said of each image; None where that would take too much room.

    Raises:
        ModelError: the folder holds no model.
        DataError: the images have no test split, or cannot be read.
        TrialError: the machine is about to go.
    """
    saved = read_saved_model(folder)
    images = open_images(stored_data(saved.config), runtime.cache)
    test = images.split("test")
    config = saved.config.model_copy(
        update={"data": saved.config.data.model_copy(update={"image_size": saved.image_size})}
    )
    machine = find_machine(runtime.device, precision=config.train.precision)
    backbone = saved.build()
    backbone.model.to(machine.device)
    feed = _of_test(open_image_feed(Phase(1, config), images, backbone, machine=machine, threads=runtime.threads), test)
    counts = ClassCounts.of(images.split("train").labels, config, num_classes=len(images.classes)).to(machine.device)
    judged = evaluate(backbone.model, feed, counts=counts, machine=machine, keep=is_kept(images, test))
    if judged is None:
        raise TrialError("The machine is about to go, so the held-out test was not scored; `sweeper confirm` does it.")
    scores = {name: float(value) for name, value in asdict(judged.scores).items() if value is not None}
    return scores, predictions_of(judged, images, test, counts=counts, epoch=0)


def _of_test(feed: ImageFeed, test: ImageSplit | StreamSplit) -> ImageFeed:
    """Returns the feed with the test in place of the validation images."""
    loader = replace(feed.val, split=test, metadata=None if feed.val.metadata is None else test.metadata)
    if isinstance(loader, EvalStream) and isinstance(test, StreamSplit):
        loader = replace(loader, files=test)
    return replace(feed, val=loader)

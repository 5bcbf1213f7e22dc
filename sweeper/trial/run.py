"""A trial is a stream of EpochMetrics."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from sweeper.backbones import Backbone, build_backbone, find_weights
from sweeper.data import Batch, EvalLoader, ImageCache, Preprocessor, TrainLoader, prepare_images
from sweeper.errors import TrialError
from sweeper.paths import CachePaths, TrialPaths, written_aside
from sweeper.records import METRICS, EpochMetrics
from sweeper.spec.data import DataSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.checkpoint import load_checkpoint, save_checkpoint, save_weights
from sweeper.trial.device import Machine, find_machine, release_memory, seed_everything
from sweeper.trial.evaluate import Scores, evaluate
from sweeper.trial.learner import Learner
from sweeper.trial.loop import Prepare, TrainedEpoch, train_epoch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """What a worker gives a trial to run on; it does not change what the trial means."""

    device: str = "auto"
    """`cpu`, `cuda:<index>`, or `auto`."""
    threads: int = 1
    """Threads that read and augment images; on a CPU also those of the model's arithmetic."""
    cache: CachePaths = field(default_factory=CachePaths.default)
    """Where decoded images and converted weights lie."""


def run_trial(config: TrialConfig, paths: TrialPaths, *, runtime: Runtime) -> Generator[EpochMetrics, None, None]:
    """Fine-tunes as `config` says, going on from the trial's checkpoint where there is one.

    Yields every epoch of the trial, first those that the checkpoint already has: a driver that died before
    it wrote them down hears of them again. An epoch is yielded after its checkpoint is safe, so nothing is
    trained twice. Closing the generator stops the trial and gives back its threads and memory.

    Example::

        for metrics in run_trial(config, sweep.trial(7), runtime=Runtime()):
            print(metrics.epoch, metrics.top1)

    Args:
        config: what to train.
        paths: where `config.json`, `last.ckpt` and `best.safetensors` are written.
        runtime: what to run on.

    Raises:
        InputError: the images, the backbone, the optimiser or the device cannot be had as asked.
        CheckpointError: the checkpoint is damaged or of other settings.
        TrialError: the loss is not finite.
    """
    try:
        yield from _epochs(config, paths, runtime)
    finally:
        release_memory()  # here, where the locals of `_epochs` are gone


def _epochs(config: TrialConfig, paths: TrialPaths, runtime: Runtime) -> Generator[EpochMetrics, None, None]:
    machine = find_machine(runtime.device, precision=config.train.precision)
    machine.reset_peak_memory()
    saved = load_checkpoint(paths.checkpoint, config_hash=config.hash)
    _write_config(config, paths)

    torch.set_num_threads(runtime.threads)
    images = _open_images(config.data, runtime.cache)
    backbone = _load_backbone(config, images, machine=machine, cache=runtime.cache)
    feed = _open_feed(config, images, backbone, machine=machine, threads=runtime.threads)
    learner = Learner.start(backbone, config.train, machine=machine, batches_per_epoch=len(feed.train))
    history: tuple[EpochMetrics, ...] = ()
    if saved is not None:
        learner.restore(saved)
        history = saved.history
    del saved  # a second copy of the model, on the CPU
    share = f"{100 * backbone.trained_share:.0f} % of {backbone.name}"
    _log.info("Training %s on %s, after %d epochs.", share, machine.device, len(history))
    yield from history

    for epoch in range(len(history) + 1, config.train.epochs + 1):
        seed_everything(config.seed, epoch=epoch)
        with closing(feed.train.epoch(epoch)) as batches:
            trained = train_epoch(learner, batches, prepare=feed.prepare, epoch=epoch)
        started = time.perf_counter()
        scores = evaluate(
            learner.average.model,
            feed.val,
            prepare=feed.prepare,
            num_classes=len(images.classes),
            machine=machine,
        )
        metrics = _metrics(epoch, trained, scores, eval_seconds=time.perf_counter() - started, machine=machine)
        history = (*history, metrics)
        if _last_is_best(history, objective=config.objective):
            save_weights(learner.average.model, paths.best)
        save_checkpoint(learner.checkpoint(config_hash=config.hash, history=history), paths.checkpoint)
        value, speed = metrics.value(config.objective), metrics.images_per_second
        _log.info(
            "Epoch %d: %s %.4f, train loss %.4f, %.0f images/s.",
            epoch,
            config.objective,
            value,
            metrics.train_loss,
            speed,
        )
        yield metrics


@dataclass(frozen=True)
class _Feed:
    """Where the images of a trial come from."""

    train: TrainLoader
    val: EvalLoader
    prepare: Prepare


def _open_feed(config: TrialConfig, images: ImageCache, backbone: Backbone, *, machine: Machine, threads: int) -> _Feed:
    size, batch_size = config.data.image_size, config.train.batch_size
    preprocess = Preprocessor(
        mean=_rgb(backbone.mean), std=_rgb(backbone.std), num_classes=len(images.classes), device=machine.device
    )
    return _Feed(
        train=TrainLoader(
            images.split("train"),
            config.augment,
            image_size=size,
            batch_size=batch_size,
            seed=config.seed,
            threads=threads,
        ),
        val=EvalLoader(
            images.split("val"),
            image_size=size,
            batch_size=batch_size,
            crop_pct=backbone.crop_pct,
            threads=threads,
        ),
        prepare=preprocess if config.train.channels_last else _contiguous(preprocess),
    )


def _rgb(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _contiguous(prepare: Prepare) -> Prepare:
    """Undoes the channels-last layout that images come in."""

    def prepared(batch: Batch) -> tuple[Tensor, Tensor]:
        images, targets = prepare(batch)
        return images.contiguous(), targets

    return prepared


@lru_cache(maxsize=1)
def _open_images(data: DataSpec, cache: CachePaths) -> ImageCache:
    """Keeps the mapped images for the worker's next trial, which as a rule wants the same."""
    return prepare_images(data, cache)


def _load_backbone(config: TrialConfig, images: ImageCache, *, machine: Machine, cache: CachePaths) -> Backbone:
    weights = find_weights(config.backbone, config.weights, cache)
    backbone = build_backbone(config, num_classes=len(images.classes), weights=weights)
    layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
    backbone.model.to(machine.device).to(memory_format=layout)
    backbone.freeze(config.train.freeze_depth)
    return backbone


def _metrics(
    epoch: int, trained: TrainedEpoch, scores: Scores, *, eval_seconds: float, machine: Machine
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
        peak_memory_mb=machine.peak_memory_mb(),
        **asdict(trained),
        **asdict(scores),
    )


def _last_is_best(history: tuple[EpochMetrics, ...], *, objective: str) -> bool:
    """Whether the last epoch beats all before it; an equal one does not."""
    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    *before, last = (sign * metrics.value(objective) for metrics in history)
    return last > max(before, default=-math.inf)


def _write_config(config: TrialConfig, paths: TrialPaths) -> None:
    with written_aside(paths.config) as aside:
        aside.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

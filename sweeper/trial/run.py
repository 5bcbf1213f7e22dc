"""A trial is a stream of EpochMetrics."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace

import torch

from sweeper.errors import PreemptedError
from sweeper.paths import CachePaths, TrialPaths
from sweeper.records import METRICS, EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.checkpoint import load_checkpoint, save_checkpoint
from sweeper.trial.device import find_machine, release_memory, seed_everything
from sweeper.trial.lease import Lease
from sweeper.trial.progress import Left, Progress
from sweeper.trial.setup import Setup
from sweeper.trial.training import Training
from sweeper.trial.watchdog import watched

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
    attempt: int = 1
    """Which attempt at the trial this is: a later one takes the trial's folder away from an earlier one."""
    leave: threading.Event = field(default_factory=threading.Event)
    """Set by a signal handler, or by another thread, when the machine is about to go: the trial saves and ends."""
    micro_batch: int | None = None
    """Images in one pass at most, where more have been too much; the steps stay those of the whole batch."""
    stall_seconds: float | None = None
    """How long it may take to finish a batch before the process is ended; None for ever."""


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
        paths: where `config.json`, `last.ckpt`, `best.safetensors` and `predictions.safetensors` are written.
        runtime: what to run on.

    Raises:
        InputError: the images, the backbone, the optimiser or the device cannot be had as asked.
        CheckpointError: the checkpoint is damaged or of other settings.
        PreemptedError: `runtime.leave` was set; the trial goes on from the step it was at.
        SupersededError: a later attempt has the trial.
        TrialError: the loss is not finite.
    """
    lease = Lease.take(paths, runtime.attempt)
    try:
        with watched(runtime.stall_seconds, paths.stall):
            yield from _epochs(config, paths, runtime, lease)
    finally:
        lease.release()
        release_memory()  # here, where the locals of `_epochs` are gone


def _epochs(
    config: TrialConfig, paths: TrialPaths, runtime: Runtime, lease: Lease
) -> Generator[EpochMetrics, None, None]:
    machine = replace(find_machine(runtime.device, precision=config.train.precision), leave=runtime.leave)
    machine.reset_peak_memory()
    saved = load_checkpoint(paths.checkpoint, config_hash=config.hash)
    with lease.written(paths.config) as aside:
        aside.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    torch.set_num_threads(runtime.threads)
    setup = Setup.open(config, machine=machine, threads=runtime.threads, cache=runtime.cache)
    history = saved.history if saved is not None else ()
    begun = Progress(**saved.progress) if saved is not None and saved.progress else None
    # A trial that stopped at a phase's end goes on from that phase: its weights are what the next one starts from.
    reached = len(history) + (begun is not None)
    phase, *later = (phase for phase in setup.phases if phase.last >= reached)
    training = setup.begin(phase)
    if saved is not None:
        training.learner.restore(saved)
    training.learner.limit(runtime.micro_batch)
    del saved  # a second copy of the model, on the CPU
    _log_phase(training, done=len(history))
    yield from history

    while True:
        for epoch in range(len(history) + 1, phase.last + 1):
            seed_everything(config.seed, epoch=epoch)
            try:
                metrics, judged = training.epoch(epoch, begun=begun)
            except Left as left:
                state = training.learner.checkpoint(config_hash=config.hash, history=history, progress=left.progress)
                save_checkpoint(state, paths.checkpoint, written=lease.written)
                raise PreemptedError(f"The trial goes on from step {left.progress.steps} of epoch {epoch}.") from left
            begun = None
            history = (*history, metrics)
            if _last_is_best(history, objective=config.objective):
                training.keep(paths, metrics, judged, written=lease.written)
            state = training.learner.checkpoint(config_hash=config.hash, history=history)
            save_checkpoint(state, paths.checkpoint, written=lease.written)
            _log_epoch(metrics, objective=config.objective)
            yield metrics
        if not later:
            return
        weights, (phase, *later) = training.weights(), later
        del training  # before the next model takes memory of its own
        release_memory()
        training = setup.begin(phase, weights=weights)
        training.learner.limit(runtime.micro_batch)
        _log_phase(training, done=len(history))


def _log_phase(training: Training, *, done: int) -> None:
    # As text: whoever keeps the log record must not keep the model with it.
    _log.info("Training %s, after %d epochs.", str(training), done)


def _log_epoch(metrics: EpochMetrics, *, objective: str) -> None:
    value, speed = metrics.value(objective), metrics.images_per_second
    _log.info(
        "Epoch %d: %s %.4f, train loss %.4f, %.0f images/s.", metrics.epoch, objective, value, metrics.train_loss, speed
    )


def _last_is_best(history: tuple[EpochMetrics, ...], *, objective: str) -> bool:
    """Whether the last epoch beats all before it; an equal one does not."""
    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    *before, last = (sign * metrics.value(objective) for metrics in history)
    return last > max(before, default=-math.inf)

"""A trial is a stream of EpochMetrics."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from dataclasses import replace

import torch

from sweeper.errors import PreemptedError
from sweeper.paths import TrialPaths, Writer
from sweeper.records import METRICS, EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.checkpoint import load_checkpoint, save_checkpoint
from sweeper.trial.device import find_machine, release_memory, seed_everything
from sweeper.trial.group import Group
from sweeper.trial.lease import Lease
from sweeper.trial.peers import grouped
from sweeper.trial.progress import Left, Progress
from sweeper.trial.runtime import Runtime
from sweeper.trial.setup import Setup
from sweeper.trial.training import Training
from sweeper.trial.watchdog import watched

_log = logging.getLogger(__name__)


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
        with watched(runtime.stall_seconds, paths.stall), grouped(config, paths, runtime) as group:
            yield from _epochs(config, paths, runtime, group=group, written=lease.written)
    finally:
        lease.release()
        release_memory()  # here, where the locals of `_epochs` are gone


def follow_trial(config: TrialConfig, paths: TrialPaths, *, runtime: Runtime, group: Group) -> None:
    """Trains along with the process that leads a trial; writes nothing.

    Raises:
        SweeperError: as `run_trial`; the leading process meets the same.
    """
    for _ in _epochs(config, paths, runtime, group=group, written=None):
        pass


def _epochs(
    config: TrialConfig, paths: TrialPaths, runtime: Runtime, *, group: Group, written: Writer | None
) -> Generator[EpochMetrics, None, None]:
    """Trains; what is to be kept is `written`, by the process that leads."""
    machine = find_machine(runtime.device, precision=config.train.precision)
    machine = replace(machine, leave=runtime.leave, group=group)
    machine.reset_peak_memory()
    saved = load_checkpoint(paths.checkpoint, config_hash=config.hash)
    if written is not None:
        with written(paths.config) as aside:
            aside.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    threads = max(1, runtime.threads // group.size)
    torch.set_num_threads(threads)
    setup = Setup.open(config, machine=machine, threads=threads, cache=runtime.cache)
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
            group.start_epoch()
            seed_everything(config.seed, epoch=epoch, rank=group.rank)
            try:
                metrics, judged = training.epoch(epoch, begun=begun)
            except Left as left:
                state = training.learner.checkpoint(config_hash=config.hash, history=history, progress=left.progress)
                if written is not None:
                    save_checkpoint(state, paths.checkpoint, written=written)
                raise PreemptedError(f"The trial goes on from step {left.progress.steps} of epoch {epoch}.") from left
            begun = None
            history = (*history, metrics)
            if written is not None:
                if _last_is_best(history, objective=config.objective):
                    training.keep(paths, metrics, judged, written=written)
                state = training.learner.checkpoint(config_hash=config.hash, history=history)
                save_checkpoint(state, paths.checkpoint, written=written)
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

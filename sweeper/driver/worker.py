"""The Ray actor that runs trials, one after another, with its imports and its page cache warm."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import suppress
from types import FrameType
from typing import Any, ClassVar

import torch
from ray import tune

from sweeper.disk import is_full
from sweeper.driver.assignment import Assignment, Message
from sweeper.driver.drain import watch_for_drain
from sweeper.errors import EngineError, PreemptedError, SweeperError
from sweeper.folder import read_worker
from sweeper.logs import log_handler
from sweeper.paths import CachePaths, TrialPaths, written_aside
from sweeper.records import EpochMetrics, Failure, WorkerState
from sweeper.trial.memory import held_mb, kills_for_memory
from sweeper.trial.remote import RemoteTrial
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

_LOG = logging.getLogger("sweeper")


class TrialWorker(tune.Trainable):  # type: ignore[misc] # Ray ships no types
    """A Tune trainable whose step is one epoch.

    Nothing is built before the first step, so that whatever fails fails inside a trial: an exception in
    `setup` would cost the worker.
    """

    leak_mb: ClassVar[float] = 1024.0
    """A worker that holds so much more after a trial than after its first one is replaced."""

    def setup(self, config: dict[str, Any]) -> None:
        """Takes the first assignment."""
        self._fit = True
        self._leave = threading.Event()
        self._at_sigterm: Any = signal.SIG_DFL
        if threading.current_thread() is threading.main_thread():
            self._at_sigterm = signal.signal(signal.SIGTERM, self._told_to_leave)
        watch_for_drain(self._leave)
        self._held: float | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next assignment."""
        self._end()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Runs one epoch.

        Raises:
            EngineError: the worker is unfit; the trial that made it so has been told as failed. Or the store for the
                files of running trials stayed away.
        """
        if not self._fit:
            raise EngineError("This worker met an unforeseen error, keeps memory or has to leave: it is replaced.")
        message = self._next()
        if self._remote is not None and self._is_whole:
            self._remote.keep(self._paths, attempt=self._attempt)
        return message.to_ray()

    def _next(self) -> Message:
        try:
            return Message(epoch=next(self._epochs))
        except StopIteration:
            self._fit = not self._leaks()
            return Message(fit=self._fit)
        except PreemptedError as error:
            self._fit = False
            _LOG.info("The machine is about to go. %s", error)
            return Message(preempted=str(error), fit=False)
        except Exception as error:
            if not self._is_whole or (self._remote is not None and is_full(error)):
                raise  # no fault of the trial's, but of this machine or its way to the store: as if it were lost
            if is_full(error):
                _LOG.exception("The disk is full.")
                return Message(disk_full=True)
            # Nobody knows what an unforeseen error leaves behind on the device or in the libraries.
            self._fit = isinstance(error, SweeperError)
            _LOG.exception("The trial failed.")
            return Message(failure=_failure(error), fit=self._fit)

    def cleanup(self) -> None:
        """Lets go of the trial when the worker is stopped."""
        self._end()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._at_sigterm)

    def _told_to_leave(self, number: int, frame: FrameType | None) -> None:
        """Takes SIGTERM as the notice that it is on a machine that is given up; the second one ends the process."""
        if self._leave.is_set() and callable(self._at_sigterm):
            self._at_sigterm(number, frame)
        self._leave.set()

    def _begin(self, config: dict[str, Any]) -> None:
        assignment = Assignment.from_ray(config)
        paths = TrialPaths(assignment.folder)
        before = read_worker(paths)
        self._paths, self._attempt = paths, assignment.attempt
        self._remote = None if assignment.remote is None else RemoteTrial(assignment.remote)
        self._is_whole = self._remote is None
        if self._remote is not None:
            shutil.rmtree(paths.root, ignore_errors=True)  # of an attempt that was killed here
        paths.root.mkdir(parents=True, exist_ok=True)
        self._log_file = log_handler(
            paths.log, sweep=assignment.sweep, trial=assignment.number, attempt=assignment.attempt
        )
        _LOG.addHandler(self._log_file)
        _LOG.setLevel(logging.INFO)
        _LOG.info("Trial %d, attempt %d.", assignment.number, assignment.attempt)
        micro_batch = _micro_batch(before, -(-assignment.config.train.batch_size // assignment.processes))
        self._mark = paths.worker
        here = WorkerState(
            host=socket.gethostname(), pid=os.getpid(), attempt=assignment.attempt, started=time.time(),
            micro_batch=micro_batch, kills=kills_for_memory(),
        )  # fmt: skip
        with suppress(OSError), written_aside(self._mark, flush=False) as aside:
            aside.write_text(here.model_dump_json(), encoding="utf-8")
        self._device = torch.device(assignment.device)
        runtime = Runtime(
            device=assignment.device,
            processes=assignment.processes,
            threads=assignment.threads,
            cache=CachePaths(assignment.cache),
            attempt=assignment.attempt,
            leave=self._leave,
            micro_batch=micro_batch,
            stall_seconds=assignment.stall_seconds,
        )
        self._epochs = self._started(assignment, runtime)

    def _started(self, assignment: Assignment, runtime: Runtime) -> Generator[EpochMetrics, None, None]:
        """Runs the trial from where earlier attempts left it, on whatever machine; begun with the first epoch."""
        if self._remote is not None:
            self._remote.begin(self._paths, attempt=self._attempt)
            self._is_whole = True
        yield from run_trial(assignment.config, self._paths, runtime=runtime)

    def _end(self) -> None:
        # Closing the generator is what stops its loader threads and frees its memory.
        self._epochs.close()
        self._mark.unlink(missing_ok=True)
        _LOG.removeHandler(self._log_file)
        self._log_file.close()
        if self._remote is not None:
            shutil.rmtree(self._paths.root, ignore_errors=True)

    def _leaks(self) -> bool:
        """Whether this process holds much more after a trial than it did after its first one."""
        held = held_mb(self._device)
        if self._held is None:
            self._held = held
        grown = held - self._held
        if grown > self.leak_mb:
            _LOG.warning("The worker holds %.0f MiB more than after its first trial, and is replaced.", grown)
        return grown > self.leak_mb


def _micro_batch(before: WorkerState | None, whole: int) -> int | None:
    """Returns how many images one pass may have: half of what an attempt had that was ended for memory.

    An attempt that ends takes its mark down; one that was killed leaves it behind.
    """
    if before is None:
        return None
    by_kernel = before.host == socket.gethostname() and kills_for_memory() > before.kills
    if not (by_kernel or before.killed_for_memory):
        return before.micro_batch
    micro_batch = max(1, (before.micro_batch or whole) // 2)
    _LOG.warning("The last attempt was ended for memory: micro-batch %d of %d now.", micro_batch, whole)
    return micro_batch


def _failure(error: Exception) -> Failure:
    summary = str(error) if isinstance(error, SweeperError) else f"{type(error).__name__}: {error}"
    return Failure(
        reason=summary.splitlines()[0] if summary else type(error).__name__, traceback=traceback.format_exc()
    )

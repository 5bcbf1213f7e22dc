"""The other processes of a trial that has several devices: started with it, ended with it.

The process that was asked for the trial leads, with the first device; for each further one it starts
`python -m sweeper.trial.peer`. What it says to them goes through their standard input: what to train, then a line for
each epoch. Its end is the end of their input. None of them goes on without the others: a device that waits for a lost
process waits for ever, so all end with it, and the trial is taken up again from its checkpoint.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pydantic import BaseModel, ConfigDict

from sweeper.paths import TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.group import ALONE, Group, Together
from sweeper.trial.runtime import Runtime

_END_SECONDS: Final = 10.0
"""How long a process may take to end when its input does."""
_LOST: Final = 71
"""What a process returns that ended because another one had."""
_log = logging.getLogger(__name__)


class Order(BaseModel):
    """What one further process of a trial is to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: TrialConfig
    folder: Path
    """The trial's."""
    meeting: Path
    """The file through which all find each other."""
    rank: int
    size: int
    device: str
    threads: int
    cache: Path
    micro_batch: int | None


@contextmanager
def grouped(config: TrialConfig, paths: TrialPaths, runtime: Runtime) -> Iterator[Group]:
    """Starts the other processes of a trial, where it is to have some, and ends them."""
    if runtime.processes == 1:
        yield ALONE
        return
    with TemporaryDirectory(prefix="sweeper-") as folder:
        meeting = Path(folder) / "meeting"
        peers = _Peers()
        try:
            for rank in range(1, runtime.processes):
                peers.start(_order(rank, config, paths, runtime, meeting=meeting), paths)
            group = Together.join(0, runtime.processes, meeting=meeting, starts=peers.start_epoch)
            try:
                yield group
            finally:
                peers.let_go()
                group.leave()
        finally:
            peers.let_go()
            peers.wait()


def _order(rank: int, config: TrialConfig, paths: TrialPaths, runtime: Runtime, *, meeting: Path) -> Order:
    return Order(
        config=config,
        folder=paths.root,
        meeting=meeting,
        rank=rank,
        size=runtime.processes,
        device=runtime.device_of(rank),
        threads=runtime.threads,
        cache=runtime.cache.root,
        micro_batch=runtime.micro_batch,
    )


class _Peers:
    """The further processes of one trial."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, order: Order, paths: TrialPaths) -> None:
        """Starts one, which prints to the trial's log; its end before `let_go` is this process's."""
        command = [sys.executable, "-m", "sweeper.trial.peer"]
        with paths.log.open("a", encoding="utf-8") as log:
            # In a session of its own: Ctrl-C is for the process that leads.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, start_new_session=True
            )
        self._processes.append(process)
        _tell(process, order.model_dump_json())
        threading.Thread(target=self._end_with, args=(process, order.rank), daemon=True).start()

    def start_epoch(self) -> None:
        """Lets all of them begin an epoch."""
        for process in self._processes:
            _tell(process, "epoch")

    def let_go(self) -> None:
        """Ends their input, and with it them."""
        self._over.set()
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()

    def wait(self) -> None:
        """Waits until they have ended; one that does not is killed."""
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _end_with(self, process: subprocess.Popen[str], rank: int) -> None:
        returned = process.wait()
        if not self._over.is_set():
            _log.error("Process %d of the trial has ended (%d), and all end with it.", rank, returned)
            os._exit(_LOST)


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended, and so will this process
        process.stdin.write(line + "\n")
        process.stdin.flush()

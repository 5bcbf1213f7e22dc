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
from collections.abc import Iterator, Sequence
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
        orders = [_order(rank, config, paths, runtime, meeting=meeting) for rank in range(1, runtime.processes)]
        with _started(orders, paths) as peers:

            def start_epoch() -> None:
                for peer in peers:
                    _tell(peer, "epoch")

            group = Together.join(0, runtime.processes, meeting=meeting, starts=start_epoch)
            try:
                yield group
            finally:
                group.leave()


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


@contextmanager
def _started(orders: Sequence[Order], paths: TrialPaths) -> Iterator[list[subprocess.Popen[str]]]:
    over = threading.Event()
    peers: list[subprocess.Popen[str]] = []
    try:
        with paths.log.open("a", encoding="utf-8") as log:
            for order in orders:
                command = [sys.executable, "-m", "sweeper.trial.peer"]
                # In a session of its own: Ctrl-C is for the process that leads.
                peer = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, start_new_session=True
                )
                peers.append(peer)
                _tell(peer, order.model_dump_json())
                threading.Thread(target=_end_with, args=(peer, order.rank, over), daemon=True).start()
        yield peers
    finally:
        over.set()
        for peer in peers:
            assert peer.stdin is not None
            with suppress(BrokenPipeError):
                peer.stdin.close()
        _ended(peers)


def _end_with(peer: subprocess.Popen[str], rank: int, over: threading.Event) -> None:
    """Ends this process when `peer` ends before the trial is over."""
    returned = peer.wait()
    if not over.is_set():
        _log.error("Process %d of the trial has ended (%d), and all end with it.", rank, returned)
        os._exit(_LOST)


def _tell(peer: subprocess.Popen[str], line: str) -> None:
    assert peer.stdin is not None
    with suppress(BrokenPipeError):  # it has ended, and so will this process
        peer.stdin.write(line + "\n")
        peer.stdin.flush()


def _ended(peers: Sequence[subprocess.Popen[str]]) -> None:
    for peer in peers:
        try:
            peer.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            peer.kill()
            peer.wait()

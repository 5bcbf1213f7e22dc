"""What people ask of a running sweep from another terminal, and what the driver tells them.

All of it goes through small files in the sweep's folder, so that it works across machines and for a dead driver too.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

from sweeper.driver.disk import Disk
from sweeper.paths import SweepPaths, written_aside
from sweeper.records import DriverState, WaitingTrial


class Requests:
    """What the driver is asked to do."""

    def __init__(self, signalled: threading.Event, paths: SweepPaths, disk: Disk) -> None:
        self._signalled = signalled
        self._paths = paths
        self._disk = disk

    @property
    def stop(self) -> bool:
        """Whether the sweep is to end now: a signal came, or `sweeper stop`."""
        return self._signalled.is_set() or self._paths.stop_request.exists()

    def why_paused(self) -> str | None:
        """Why nothing is to run for now, a sentence; None where trials may run."""
        if not self._paths.pause_request.exists():
            return self._disk.why_full()
        return f"It was paused by `sweeper pause`; `sweeper resume {self._paths.root.name}` goes on."

    def disk_filled(self) -> None:
        """Pauses the sweep until the disk has room again."""
        self._disk.filled()

    def wait(self, seconds: float) -> None:
        """Sleeps, or less where a signal comes."""
        self._signalled.wait(seconds)


class Bulletin:
    """Keeps `driver.json` true: which trials hold the slots, what waits and why."""

    def __init__(self, paths: SweepPaths) -> None:
        self._paths = paths
        self._told: DriverState | None = None

    def tell(
        self, *, slots: int, running: Sequence[int], waiting: Sequence[WaitingTrial], paused: str | None = None
    ) -> None:
        """Writes down what has changed; a disk that has no room for it must not end the sweep."""
        state = DriverState(
            host=socket.gethostname(), pid=os.getpid(), slots=slots, running=tuple(running), waiting=tuple(waiting),
            paused=paused,
        )  # fmt: skip
        if state == self._told:
            return
        text = state.model_dump_json()
        try:
            with written_aside(self._paths.state, flush=False) as aside:
                aside.write_text(text, encoding="utf-8")
        except OSError:
            self._overwrite(text)
        self._told = state

    def _overwrite(self, text: str) -> None:
        """Writes into the file that is there: a full disk has no room for another, and is what is to be told."""
        with suppress(OSError), self._paths.state.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()

    def take_down(self) -> None:
        """Removes the file: no driver is there to keep it true."""
        self._paths.state.unlink(missing_ok=True)

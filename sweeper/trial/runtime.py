"""What a worker gives a trial to run on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from sweeper.paths import CachePaths


@dataclass(frozen=True)
class Runtime:
    """What a trial runs on; it does not change what the trial means."""

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
    processes: int = 1
    """That train it together; the first has `device`, on a GPU each further one has the next."""

    def device_of(self, rank: int) -> str:
        """Returns the device of one of the processes, counted from 0."""
        if rank == 0 or self.device == "cpu":
            return self.device
        return f"cuda:{rank}"

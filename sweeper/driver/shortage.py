"""Memory that ran short on a machine, so that Ray ended workers: nothing starts there for a while."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

_FIRST_SECONDS: Final = 15.0
_LONGEST_SECONDS: Final = 240.0
_SIGN: Final = "running low on memory"
_USED: Final = re.compile(r"([\d.]+ ?[KMGT]i?B used / [\d.]+ ?[KMGT]i?B limit)")


class Shortage:
    """How long nothing is to start: twice as long after each kill, until a trial ends an epoch.

    Whoever has the memory may be another program. A worker that is started at once is ended at once, and a trial's
    retries would be used up within seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = 0.0
        self._until = float("-inf")

    def met(self, message: str) -> str | None:
        """Takes in what Ray says of a lost worker; returns a sentence where that was for memory."""
        if _SIGN not in message:
            return None
        now = self._clock()
        if now >= self._until:  # one shortage ends several workers
            self._pause = min(max(_FIRST_SECONDS, 2.0 * self._pause), _LONGEST_SECONDS)
            self._until = now + self._pause
        used = _USED.search(message)
        how_much = f" ({used[1]})" if used is not None else ""
        return f"Memory ran short{how_much}, and Ray ended a worker for it; no trial starts for {self._pause:.0f} s."

    def passed(self) -> None:
        """Takes in that a trial has ended an epoch: there is memory again."""
        self._pause = 0.0

    @property
    def lasts(self) -> bool:
        """Whether nothing is to start yet."""
        return self._clock() < self._until

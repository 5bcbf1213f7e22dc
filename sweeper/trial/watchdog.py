"""Ends this process when a trial hangs, with the stack of every thread.

A dead lock, a file system or a driver that does not answer: nothing in Python can be relied on then. So the timer is
`faulthandler`'s, which needs no Python to run. There is one in a process, as there is one trial.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

_BETWEEN_SECONDS: Final = 1.0
"""Winding the timer up takes about a tenth of a millisecond."""


class _Timer:
    def __init__(self, seconds: float, stacks: TextIO) -> None:
        self._seconds = seconds
        self._stacks = stacks
        self._wound = float("-inf")

    def wind(self) -> None:
        now = time.monotonic()
        if now - self._wound > min(_BETWEEN_SECONDS, self._seconds / 10):
            self._wound = now
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._stacks)


_timers: list[_Timer] = []


@contextmanager
def watched(seconds: float | None, stacks: Path) -> Iterator[None]:
    """Ends the process if `alive` is not called for `seconds` after it was called once; None watches nothing.

    What comes before the first batch is not watched: decoding a whole data set on a new machine may take hours.

    Args:
        seconds: longer than the slowest batch.
        stacks: the file that then holds where each thread was; it is there only after that.
    """
    stacks.unlink(missing_ok=True)
    if seconds is None:
        yield
        return
    with stacks.open("w", encoding="utf-8") as file:
        _timers.append(_Timer(seconds, file))
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            _timers.pop()
            stacks.unlink(missing_ok=True)


def alive() -> None:
    """Says that the trial goes on: called with each batch."""
    if _timers:
        _timers[-1].wind()

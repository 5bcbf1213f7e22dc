"""How far a preparation is: a bar in a terminal, now and then a line anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

_EVERY_SECONDS: Final = 5.0


@contextmanager
def preparing(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Gives what to call with what is being done, how much of it is done and how much there is; takes a bar down."""
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("listing images", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)


class PlainProgress:
    """A line at the start of each thing, at its end, and every few seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._what, self._done = "", -1
        self._told = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Says how far it is, if it is time to."""
        now = time.monotonic()
        ended = done == total and done != self._done
        if what != self._what or ended or now - self._told > _EVERY_SECONDS:
            self._what, self._done, self._told = what, done, now
            self._console.print(Text(f"{what}: {done}/{total}"), soft_wrap=True)

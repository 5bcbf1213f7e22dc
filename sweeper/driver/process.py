"""What a driver's process does around its work: it ends cleanly when asked to, and keeps a log."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.logs import log_handler
from sweeper.paths import SweepPaths


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the preparation as Ctrl-C does; Ray would end the process without letting go of anything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def logged(paths: SweepPaths) -> Iterator[None]:
    """Writes the log lines of sweeper and of Ray to the sweep's driver log, and Ray's nowhere else.

    A line that cannot be written, as the disk is full, is left out: Python would fill the screen with why.
    """
    handler = log_handler(paths.log, sweep=paths.root.name)
    ours, rays = logging.getLogger("sweeper"), logging.getLogger("ray")
    ours.setLevel(logging.INFO)
    before, raises = rays.handlers, logging.raiseExceptions
    rays.handlers = [handler]
    logging.raiseExceptions = False
    ours.addHandler(handler)
    try:
        yield
    finally:
        rays.handlers, logging.raiseExceptions = before, raises
        ours.removeHandler(handler)
        handler.close()

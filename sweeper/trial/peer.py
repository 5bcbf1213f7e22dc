"""`python -m sweeper.trial.peer`: a further process of a trial, as `sweeper.trial.peers` starts it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Final

from sweeper.logs import log_handler
from sweeper.paths import CachePaths, TrialPaths
from sweeper.trial.group import Together
from sweeper.trial.peers import Order
from sweeper.trial.run import follow_trial
from sweeper.trial.runtime import Runtime

_LEAVE_SECONDS: Final = 5.0
_ALONE_SECONDS: Final = 60.0
"""How long the leading process may take to meet an error that this one has met."""
_log = logging.getLogger("sweeper")


def main() -> None:
    """Trains along with the process that started this one, until that closes this one's input."""
    # A machine that goes tells all its processes; the one that leads saves the trial, with this one's help.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = Order.model_validate_json(sys.stdin.readline())
    logging.basicConfig(handlers=[log_handler(None, process=order.rank)])
    epochs = threading.Semaphore(0)
    joined: list[Together] = []
    threading.Thread(target=_listen, args=(epochs, joined), daemon=True).start()
    try:
        group = Together.join(order.rank, order.size, meeting=order.meeting, starts=epochs.acquire)
        joined.append(group)
        runtime = Runtime(
            device=order.device, threads=order.threads, cache=CachePaths(order.cache), micro_batch=order.micro_batch
        )
        follow_trial(order.config, TrialPaths(order.folder), runtime=runtime, group=group)
        threading.Event().wait()  # for the end of the input: a process that ends before counts as lost
    except Exception:  # noqa: BLE001
        # As a rule all meet it, and the one that leads tells; if only this one has, they must not wait for it.
        _log.exception("This process cannot go on.")
        time.sleep(_ALONE_SECONDS)
        os._exit(1)


def _listen(epochs: threading.Semaphore, joined: list[Together]) -> None:
    for _ in sys.stdin:
        epochs.release()
    for group in joined:
        group.leave(seconds=_LEAVE_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()

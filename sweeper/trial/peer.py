"""`python -m sweeper.trial.peer`: a further process of a trial, as `sweeper.trial.peers` starts it."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress

from sweeper.errors import SweeperError
from sweeper.logs import log_handler
from sweeper.paths import CachePaths, TrialPaths
from sweeper.trial.group import Together
from sweeper.trial.peers import Order
from sweeper.trial.run import follow_trial
from sweeper.trial.runtime import Runtime


def main() -> None:
    """Trains along with the process that started this one, until that closes this one's input."""
    order = Order.model_validate_json(sys.stdin.readline())
    logging.basicConfig(handlers=[log_handler(None, process=order.rank)])
    epochs = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(epochs,), daemon=True).start()
    group = Together.join(order.rank, order.size, meeting=order.meeting, starts=epochs.acquire)
    runtime = Runtime(
        device=order.device, threads=order.threads, cache=CachePaths(order.cache), micro_batch=order.micro_batch
    )
    with suppress(SweeperError):  # the process that leads meets it as well, and tells
        follow_trial(order.config, TrialPaths(order.folder), runtime=runtime, group=group)
    threading.Event().wait()  # for the end of the input: a process that ends before counts as lost


def _listen(epochs: threading.Semaphore) -> None:
    for _ in sys.stdin:
        epochs.release()
    os._exit(0)


if __name__ == "__main__":
    main()

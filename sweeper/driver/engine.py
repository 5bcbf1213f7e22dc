"""Runs Tune from the ledger until the sweep is over, also when a Tune run dies under it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import ray
from ray import tune

from sweeper.disk import is_full
from sweeper.driver.adapters import LedgerScheduler, LedgerSearcher, OnRequest
from sweeper.driver.assignment import Assignment
from sweeper.driver.attempts import Attempts, Sweep
from sweeper.driver.cluster import own_ray_is_gone, requested, slots_for, start_again
from sweeper.driver.disk import Disk
from sweeper.driver.requests import Requests
from sweeper.driver.worker import TrialWorker
from sweeper.errors import EngineError
from sweeper.planning.share import Share

_LOG = logging.getLogger(__name__)
_DEATHS_IN_A_ROW = 3
_ASK_SECONDS = 2.0
_PAUSE_SECONDS = 0.5


def run_trials(sweep: Sweep, *, worker: type[TrialWorker] = TrialWorker) -> bool:
    """Runs what the ledger has left to run.

    A Tune run may die of things that are no trial's fault (Ray's memory monitor kills a worker in a way that
    Tune does not handle); the next one starts from the ledger, where the trials that ran are marked as running.
    A Ray of the sweep's own whose node died is started again before it.

    Args:
        sweep: what to run.
        worker: what runs a trial.

    Returns:
        Whether the sweep is over; False when it was asked to stop first.

    Raises:
        EngineError: Tune died several times in a row without finishing a trial.
    """
    with signals_caught() as signalled:
        disk = Disk(sweep.spec, sweep.paths)
        requests = Requests(signalled, sweep.paths, disk)
        nodes = _Nodes(sweep)
        attempts = Attempts(sweep, nodes.slots, paused=requests.why_paused, disk=disk)
        try:
            return _run(sweep, attempts, requests, lambda: _fit(sweep, worker, attempts, requests, nodes))
        finally:
            attempts.close()


def _run(sweep: Sweep, attempts: Attempts, requests: Requests, fit: Callable[[], Exception | None]) -> bool:
    deaths = 0
    while True:
        attempts.take_over()
        if attempts.are_over:
            return True
        _sit_out(sweep, attempts, requests)
        if requests.stop:
            return False
        finished = _finished(sweep)
        error = fit()
        if error is not None:
            deaths = 1 if _finished(sweep) > finished else deaths + 1
            if deaths >= _DEATHS_IN_A_ROW:
                raise EngineError(
                    f"Ray Tune died {deaths} times without finishing a trial; see `{sweep.paths.log}`, "
                    "then `sweeper resume`."
                ) from error
            sweep.observer.note(f"Ray Tune stopped ({_gist(error)}); going on from the ledger.")
        # Workers of a Tune run that died hold their CPUs until its objects, which refer to each other, are gone.
        gc.collect()
        if own_ray_is_gone():
            start_again()


def _fit(
    sweep: Sweep, worker: type[TrialWorker], attempts: Attempts, requests: Requests, nodes: _Nodes
) -> Exception | None:
    """Makes one Tune run; returns what it died of, unless that was a full disk, which pauses the sweep."""
    try:
        _tuner(sweep, worker, attempts, OnRequest(requests, attempts, nodes.are_gone)).fit()
    except (tune.TuneError, ray.exceptions.RayError, RuntimeError) as error:
        _LOG.exception("A Tune run died.")
        attempts.worker_ended(None, str(error))
        if is_full(error):
            requests.disk_filled()
            return None
        return error
    return EngineError("Ray's node on this machine died") if nodes.are_gone() else None


def _sit_out(sweep: Sweep, attempts: Attempts, requests: Requests) -> None:
    """Waits while the sweep is paused or memory is short: the workers have ended, so that others have what they had."""
    why = requests.why_paused() or attempts.why_short()
    if why is None:
        return
    sweep.observer.note(why)
    while (requests.why_paused() or attempts.why_short()) and not requests.stop:
        attempts.tell()
        requests.wait(_PAUSE_SECONDS)
    if not requests.stop:
        sweep.observer.note("The sweep goes on.")


def _finished(sweep: Sweep) -> int:
    return sum(record.state.is_finished for record in sweep.ledger.records())


@contextmanager
def signals_caught() -> Iterator[threading.Event]:
    """Gives an event that Ctrl-C or SIGTERM sets; a second one acts as if it had not been caught."""
    event = threading.Event()
    caught = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = {number: signal.getsignal(number) for number in caught}

    def handle(_number: int, _frame: FrameType | None) -> None:
        event.set()
        for one, handler in previous.items():
            signal.signal(one, handler)

    for number in caught:
        signal.signal(number, handle)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Nodes:
    """What the cluster has now, asked anew every few seconds: nodes come and go."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._asked = float("-inf")
        self._slots = 1
        self._gone = False

    def slots(self) -> int:
        """How many trials run at once."""
        self._ask()
        return self._slots

    def are_gone(self) -> bool:
        """Whether the Ray of this sweep's own has lost its node, without which Tune would wait for ever."""
        self._ask()
        return self._gone

    def _ask(self) -> None:
        if time.monotonic() - self._asked > _ASK_SECONDS:
            self._slots = slots_for(self._sweep.packing.least, self._sweep.spec.resources)
            self._gone = own_ray_is_gone()
            self._asked = time.monotonic()


def _tuner(sweep: Sweep, worker: type[TrialWorker], attempts: Attempts, stopper: OnRequest) -> tune.Tuner:
    if sweep.spec.resources.scale_to:
        # What waits is what makes a cluster grow, and Tune lets one trial of a searcher wait by default.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(sweep.spec.resources.scale_to)
    trainable: Any = tune.with_resources(worker, placed(sweep))
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=LedgerSearcher(attempts),
            scheduler=LedgerScheduler(attempts),
            num_samples=-1,  # until the searcher says it is finished
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=str(sweep.paths.engine.absolute()),
            stop=stopper,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
        ),
    )


def placed(sweep: Sweep) -> Any:
    """Returns what Tune asks the cluster for: one share for all, or where trials are packed each its own."""
    return requested(sweep.share) if sweep.gpu_mb is None else partial(_placement, sweep.share)


def _placement(share: Share, config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Returns what one attempt asks for: its own part of a GPU, the rest as all others."""
    asked = requested(replace(share, gpus=Assignment.from_ray(config).gpus))
    return tune.PlacementGroupFactory([{{"cpu": "CPU", "gpu": "GPU"}.get(name, name): asked[name] for name in asked}])


def _gist(error: BaseException) -> str:
    """Returns one line; Tune's errors are whole tracebacks, whose last line says what happened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]

"""Real trials through a real Ray: they finish, fail, are stopped, lose their worker, and go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest

from sweeper.driver.attempts import Sweep
from sweeper.driver.engine import run_trials
from sweeper.driver.observer import SweepObserver
from sweeper.errors import EngineError
from sweeper.planning.share import Share
from sweeper.records import Decision, EpochMetrics, TrialState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
MakeSweep = Callable[..., Sweep]


class AtEpoch(SweepObserver):
    """Does something at a trial's first report of an epoch, once."""

    def __init__(self, number: int, epoch: int, action: Callable[[], Any]) -> None:
        self._at = (number, epoch)
        self._action: Callable[[], Any] | None = action
        self.notes: list[str] = []

    def epoch_ended(self, number: int, epoch: EpochMetrics, decision: Decision) -> None:
        if (number, epoch.epoch) == self._at and self._action is not None:
            action, self._action = self._action, None
            action()

    def note(self, message: str) -> None:
        self.notes.append(message)


def kill_the_workers() -> None:
    """Ends the processes that run trials, as the kernel does when memory is short."""
    workers = [
        p for p in psutil.Process().children(recursive=True) if "ray::ResourceTrainable" in " ".join(p.cmdline())
    ]
    assert workers
    for worker in workers:  # one of an earlier sweep may still be on its way out
        os.kill(worker.pid, signal.SIGKILL)


def test_trials_run_to_their_end_and_a_failing_one_ends_only_itself(make_sweep: MakeSweep, diary: Any) -> None:
    sweep = make_sweep(
        train={"epochs": 2, "batch_size": 128, "optimizer": "sgd", "warmup_epochs": 0, "clip_grad": None},
        space={"lr": {"choice": [0.01, 1e30]}},
        search={"trials": 2, "sampler": "grid"},
    )
    assert run_trials(sweep)
    good, bad = sweep.ledger.records()
    assert (good.state, len(good.epochs), good.attempts) == (TrialState.COMPLETE, 2, 1)
    assert bad.state is TrialState.FAILED
    assert bad.failure is not None
    assert "TrialError" in bad.failure.traceback
    assert sweep.paths.trial(0).best.exists()
    assert not sweep.paths.trial(0).checkpoint.exists()
    assert "0 epoch 2 continue" in diary.lines


def test_a_killed_worker_costs_only_the_epoch_it_was_in(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(train={"epochs": 4, "batch_size": 128}, search={"trials": 1})
    sweep = replace(sweep, observer=AtEpoch(0, 2, kill_the_workers))
    assert run_trials(sweep)
    (record,) = sweep.ledger.records()
    assert (record.state, record.attempts) == (TrialState.COMPLETE, 2)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2, 3, 4]


def test_a_stop_request_leaves_the_trial_to_be_taken_up(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(train={"epochs": 3, "batch_size": 128}, search={"trials": 2}, resources={"max_concurrent": 1})
    stopping = replace(sweep, observer=AtEpoch(0, 1, sweep.paths.stop_request.touch))
    assert not run_trials(stopping)
    assert sweep.ledger.interrupted() == (0,)
    sweep.paths.stop_request.unlink()
    assert run_trials(sweep)
    first, second = sweep.ledger.records()
    assert [len(first.epochs), len(second.epochs)] == [3, 3]
    assert (first.attempts, second.attempts) == (2, 1)


def test_a_tune_run_that_dies_is_followed_by_another_from_the_ledger(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.driver.shortage._FIRST_SECONDS", 0.0)

    def die() -> None:
        raise RuntimeError("1 worker was killed due to the node running low on memory")

    observer = AtEpoch(0, 1, die)
    # Each trial takes the whole machine: the next Tune run starts only if the dead one has let go of it.
    share = Share(cpus=psutil.cpu_count() or 1, gpus=0)
    sweep = replace(make_sweep(search={"trials": 1}), observer=observer, share=share)
    assert run_trials(sweep)
    (record,) = sweep.ledger.records()
    assert (record.state, len(record.epochs)) == (TrialState.COMPLETE, 2)
    assert observer.notes == [
        "Memory ran short, and Ray ended a worker for it; no trial starts for 0 s.",
        "Ray Tune stopped (RuntimeError: 1 worker was killed due to the node running low on memory); going on from the ledger.",
    ]


def test_a_tune_that_keeps_dying_is_told_and_nothing_is_lost(make_sweep: MakeSweep) -> None:
    class Always(SweepObserver):
        def epoch_ended(self, number: int, epoch: EpochMetrics, decision: Decision) -> None:
            raise RuntimeError("no")

    sweep = replace(make_sweep(train={"epochs": 9, "batch_size": 512}, search={"trials": 1}), observer=Always())
    told = r"^Ray Tune died 3 times without finishing a trial; see `.*driver\.log`, then `sweeper resume`\.$"
    with pytest.raises(EngineError, match=told):
        run_trials(sweep)
    assert sweep.ledger.record(0).state is TrialState.RUNNING
    assert len(sweep.ledger.record(0).epochs) >= 1


def test_an_error_that_nobody_foresaw_costs_the_worker_and_its_trial_and_no_other(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(train={"epochs": 1, "batch_size": 256}, resources={"max_concurrent": 1})
    sweep.paths.trial(0).config.mkdir(parents=True)  # so that the trial cannot write its settings
    assert run_trials(sweep)
    first, second = sweep.ledger.records()
    assert first.state is TrialState.FAILED
    assert first.failure is not None
    assert first.failure.reason.startswith("IsADirectoryError: ")
    assert (second.state, second.attempts) == (TrialState.COMPLETE, 1)

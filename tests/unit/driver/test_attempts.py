"""How trials are handed out, closed, lost and taken up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.data.prepared import Prepared
from sweeper.driver.attempts import Attempts, Sweep
from sweeper.folder import read_driver, read_worker
from sweeper.paths import TrialPaths
from sweeper.planning.share import Share
from sweeper.records import Decision, EpochMetrics, Failure, TrialState, WorkerState
from sweeper.trial.remote import RemoteTrial

MakeSweep = Callable[..., Sweep]


def epoch(number: int, top1: float) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, top1=top1, top5=1.0, macro_f1=top1, balanced_accuracy=top1, val_loss=1 - top1, train_loss=1.0,
        lr=1e-3, train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=1.0,
    )  # fmt: skip


def test_no_more_trials_are_handed_out_than_there_are_slots(make_sweep: MakeSweep) -> None:
    attempts = Attempts(make_sweep(search={"trials": 3}), slots=lambda: 2)
    assert attempts.next("a") is not None
    assert attempts.next("b") is not None
    assert attempts.next("c") is None
    attempts.epoch_ended("a", epoch(1, 0.5))
    attempts.ended("a", None)
    third = attempts.next("c")
    assert third is not None
    assert third.number == 2


def test_an_assignment_says_all_a_worker_needs(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    assignment = Attempts(sweep, slots=lambda: 1).next("a")
    assert assignment is not None
    assert assignment.config.backbone == "test_efficientnet"
    assert 1e-3 <= assignment.config.train.lr <= 1e-2
    assert assignment.folder == sweep.paths.trial(0).root
    assert (assignment.attempt, assignment.device, assignment.threads) == (1, "cpu", 1)


def test_the_sweep_is_over_when_every_trial_is_closed(make_sweep: MakeSweep) -> None:
    attempts = Attempts(make_sweep(search={"trials": 1}), slots=lambda: 1)
    assert not attempts.are_over
    attempts.next("a")
    assert not attempts.are_over
    attempts.epoch_ended("a", epoch(1, 0.5))
    attempts.ended("a", None)
    assert attempts.are_over


def test_a_lost_trial_comes_back_as_its_next_attempt(make_sweep: MakeSweep, diary: object) -> None:
    attempts = Attempts(make_sweep(search={"trials": 1}), slots=lambda: 1)
    first = attempts.next("a")
    attempts.epoch_ended("a", epoch(1, 0.5))
    attempts.lost("a")
    second = attempts.next("b")
    assert first is not None
    assert second is not None
    assert (second.number, second.attempt, second.config) == (0, 2, first.config)
    attempts.epoch_ended("b", epoch(1, 0.5))
    attempts.epoch_ended("b", epoch(2, 0.6))
    attempts.ended("b", None)
    assert diary.lines == [  # type: ignore[attr-defined]
        "0 started, attempt 1", "0 epoch 1 continue", "0 lost, again",
        "0 started, attempt 2", "0 epoch 1 continue", "0 epoch 2 continue", "0 complete",
    ]  # fmt: skip


def test_a_trial_that_is_lost_too_often_fails_and_the_sweep_goes_on(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(resources={"retries": 1})
    attempts = Attempts(sweep, slots=lambda: 1)
    for name in ("a", "b"):
        attempts.next(name)
        attempts.lost(name)
    record = sweep.ledger.record(0)
    assert record.state is TrialState.FAILED
    assert record.failure is not None
    assert record.failure.reason == "its worker was lost 2 times; `resources.retries` allows no more"
    following = attempts.next("c")
    assert following is not None
    assert following.number == 1


def test_a_failure_is_kept_and_the_sweep_goes_on(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    attempts = Attempts(sweep, slots=lambda: 1)
    attempts.next("a")
    attempts.ended("a", Failure(reason="loss is not finite"))
    assert sweep.ledger.record(0).state is TrialState.FAILED
    assert attempts.next("b") is not None


def test_a_trial_stopped_early_is_closed_once(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 4, "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}})
    attempts = Attempts(sweep, slots=lambda: 1)
    for name, top1, decision in (("a", 0.9, Decision.CONTINUE), ("b", 0.1, Decision.STOP)):
        attempts.next(name)
        assert attempts.epoch_ended(name, epoch(1, top1)) is decision
        attempts.ended(name, None)  # Tune says so after a stop as well
    assert sweep.ledger.record(1).state is TrialState.STOPPED


def test_what_an_earlier_driver_left_running_comes_first(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 3})
    Attempts(sweep, slots=lambda: 2).next("a")
    later = Attempts(sweep, slots=lambda: 2)
    later.take_over()
    first, second = later.next("b"), later.next("c")
    assert first is not None
    assert second is not None
    assert [(first.number, first.attempt), (second.number, second.attempt)] == [(0, 2), (1, 1)]


def test_a_share_says_device_and_threads() -> None:
    assert (Share(cpus=0.5, gpus=0).device, Share(cpus=0.5, gpus=0).threads) == ("cpu", 1)
    assert (Share(cpus=4, gpus=0.5).device, Share(cpus=4, gpus=0.5).threads) == ("cuda:0", 4)


def test_a_measured_trial_goes_on_with_the_part_of_a_gpu_that_it_needs(make_sweep: MakeSweep) -> None:
    sweep = replace(
        make_sweep(search={"trials": 2}, train={"epochs": 3, "batch_size": 128}),
        share=Share(cpus=1, gpus=1),
        gpu_mb=24_000.0,
    )
    attempts = Attempts(sweep, slots=lambda: 1)
    first = attempts.next("a")
    assert first is not None
    assert first.gpus == 1.0
    assert attempts.epoch_ended("a", epoch(1, 0.5).model_copy(update={"peak_memory_mb": 4_600.0})) is Decision.STOP
    told = read_driver(sweep.paths)
    assert told is not None
    assert [(one.number, one.why) for one in told.waiting] == [(0, "it goes on with the part of a GPU that it needs")]
    again = attempts.next("b")
    assert again is not None
    assert (again.number, again.attempt, again.gpus) == (0, 2, 0.25)
    assert attempts.epoch_ended("b", epoch(2, 0.6).model_copy(update={"peak_memory_mb": 4_600.0})) is Decision.CONTINUE
    assert [one.gpus for one in sweep.ledger.record(0).epochs] == [1.0, 0.25]
    assert sweep.ledger.spent.gpu_hours * 3600 == pytest.approx(2.0 * 1.0 + 2.0 * 0.25)


def test_a_paused_sweep_lets_each_trial_finish_its_epoch_and_starts_nothing(
    make_sweep: MakeSweep, diary: object
) -> None:
    sweep = make_sweep(search={"trials": 3}, train={"epochs": 3, "batch_size": 128})
    why: list[str | None] = [None]
    attempts = Attempts(sweep, slots=lambda: 2, paused=lambda: why[0])
    attempts.next("a")
    why[0] = "It was paused."
    assert attempts.next("b") is None
    assert not attempts.are_idle
    assert attempts.epoch_ended("a", epoch(1, 0.5)) is Decision.STOP
    assert attempts.are_idle
    assert not attempts.are_over
    told = read_driver(sweep.paths)
    assert told is not None
    assert (told.running, told.paused) == ((), "It was paused.")
    assert [(one.number, one.why) for one in told.waiting] == [
        (0, "the sweep is paused; it goes on from its last epoch")
    ]
    assert sweep.ledger.record(0).state is TrialState.RUNNING
    why[0] = None
    attempts.take_over()
    again = attempts.next("c")
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    attempts.close()
    assert read_driver(sweep.paths) is None


def test_a_pause_does_not_keep_a_trial_from_its_end(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 1}, train={"epochs": 1, "batch_size": 128})
    why: list[str | None] = [None]
    attempts = Attempts(sweep, slots=lambda: 1, paused=lambda: why[0])
    attempts.next("a")
    why[0] = "It was paused."
    assert attempts.epoch_ended("a", epoch(1, 0.5)) is Decision.CONTINUE
    attempts.ended("a", None)
    assert sweep.ledger.record(0).state is TrialState.COMPLETE


def test_a_trial_that_somebody_stops_ends_with_its_epoch_and_says_so(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(train={"epochs": 4, "batch_size": 128})
    attempts = Attempts(sweep, slots=lambda: 1)
    attempts.next("a")
    request = sweep.paths.trial(0).stop_request
    request.parent.mkdir(parents=True)
    request.touch()
    assert attempts.epoch_ended("a", epoch(1, 0.5)) is Decision.STOP
    record = sweep.ledger.record(0)
    assert (record.state, record.stop_reason) == (TrialState.STOPPED, "ended by `sweeper stop --trial`")
    assert not request.exists()


def test_a_preempted_trial_comes_back_however_often_and_says_why_it_waits(make_sweep: MakeSweep, diary: object) -> None:
    sweep = make_sweep(search={"trials": 1}, resources={"retries": 0})
    attempts = Attempts(sweep, slots=lambda: 1)
    for count in range(4):
        assignment = attempts.next(f"attempt {count}")
        assert assignment is not None
        assert (assignment.number, assignment.attempt) == (0, count + 1)
        attempts.preempted(f"attempt {count}", "The trial goes on from step 3 of epoch 1.")
        attempts.lost(f"attempt {count}")  # its worker ends, as it was told to
    state = json.loads(sweep.paths.state.read_text())
    why = "its worker's machine was taken away. The trial goes on from step 3 of epoch 1."
    assert state["waiting"] == [{"number": 0, "why": why}]
    assert sweep.ledger.record(0).state is TrialState.RUNNING


def test_a_trial_that_diverged_fails_with_the_reason_unless_told_otherwise(make_sweep: MakeSweep) -> None:
    for wanted, state in ((True, TrialState.FAILED), (False, TrialState.RUNNING)):
        sweep = make_sweep(name=f"s{wanted}", train={"epochs": 9, "batch_size": 128}, search={"stop_diverged": wanted})
        sweep.paths.data.write_text(
            Prepared(
                classes=tuple("abcdefghij"), data_fingerprint="", split_fingerprint="", images={}, quarantined=0
            ).model_dump_json()
        )
        attempts = Attempts(sweep, slots=lambda: 1)
        attempts.next("a")
        for number in (1, 2):
            bad = epoch(number, 0.1).model_copy(update={"val_loss": 50.0})
            attempts.epoch_ended("a", bad)
        assert sweep.ledger.record(0).state is state


def test_a_trial_that_takes_too_long_ends_with_its_epoch(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(train={"epochs": 9, "batch_size": 128}, resources={"hours_per_trial": 3 / 3600})
    attempts = Attempts(sweep, slots=lambda: 1)
    attempts.next("a")
    assert attempts.epoch_ended("a", epoch(1, 0.5)) is Decision.CONTINUE
    assert attempts.epoch_ended("a", epoch(2, 0.5)) is Decision.STOP
    record = sweep.ledger.record(0)
    assert record.state is TrialState.STOPPED
    assert record.stop_reason == "it took 0.000833333 hours, all that `resources.hours_per_trial` gives"


def test_a_worker_that_hung_is_told_with_its_stacks_and_counts_as_lost(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(resources={"retries": 1, "stall_minutes": 5})
    attempts = Attempts(sweep, slots=lambda: 1)
    stall = sweep.paths.trial(0).stall
    stall.parent.mkdir(parents=True)
    for name in ("a", "b"):
        assignment = attempts.next(name)
        assert assignment is not None
        assert assignment.stall_seconds == 300.0
        stall.write_text("Thread 0x1: in wait_for_ever")
        attempts.lost(name)
        told = read_driver(sweep.paths)
        assert told is not None
        if name == "a":
            assert told.waiting[0].why == "its worker hung: no batch for 5 minutes (attempt 1 of 2)"
    failure = sweep.ledger.record(0).failure
    assert failure is not None
    assert failure.reason == (
        "its worker hung: no batch for 5 minutes; its worker was lost 2 times; `resources.retries` allows no more"
    )
    assert failure.traceback == "Thread 0x1: in wait_for_ever"


def test_a_worker_that_ray_ended_for_memory_is_marked_and_no_other(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    attempts = Attempts(sweep, slots=lambda: 2)
    for number, name in enumerate(("a", "b")):
        attempts.next(name)
        sweep.paths.trial(number).root.mkdir(parents=True)
        state = WorkerState(host="h", pid=70 + number, attempt=1, started=0.0)
        sweep.paths.trial(number).worker.write_text(state.model_dump_json())
    attempts.worker_ended(
        "b", "1 worker(s) were killed due to the node running low on memory: (actor, pid=71, used 5 GB)"
    )
    marked = [read_worker(sweep.paths.trial(number)) for number in (0, 1)]
    assert [worker.killed_for_memory for worker in marked if worker] == [False, True]
    attempts.lost("b")
    told = read_driver(sweep.paths)
    assert told is not None
    assert told.waiting[0].why == "its worker was ended for memory (attempt 1 of 3)"
    assert attempts.next("c") is None  # for a while


def test_files_of_a_trial_that_ran_elsewhere_come_home_when_it_ends(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep(checkpoints={"remote": str(tmp_path / "store")}, train={"epochs": 1, "batch_size": 128})
    attempts = Attempts(sweep, slots=lambda: 1)
    assignment = attempts.next("a")
    assert assignment is not None
    key = f"sweep-{sweep.ledger.sweep_id[:8]}/trials/0000"
    assert assignment.remote == str(tmp_path / "store" / key)
    assert assignment.folder == sweep.cache.running / key
    elsewhere = TrialPaths(tmp_path / "elsewhere")
    elsewhere.root.mkdir()
    for file in (elsewhere.best, elsewhere.checkpoint, elsewhere.log):
        file.write_text("there")
    RemoteTrial(assignment.remote).keep(elsewhere, attempt=1)
    attempts.epoch_ended("a", epoch(1, 0.5))
    attempts.ended("a", None)
    attempts.close()
    home = sweep.paths.trial(0)
    assert (home.best.read_text(), home.log.read_text(), home.checkpoint.exists()) == ("there", "there", False)


def test_a_store_that_is_away_holds_nothing_up_and_the_next_driver_brings_the_rest(
    make_sweep: MakeSweep, tmp_path: Path, diary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(checkpoints={"remote": str(tmp_path / "store")}, train={"epochs": 1, "batch_size": 128})
    attempts = Attempts(sweep, slots=lambda: 1)
    assignment = attempts.next("a")
    assert assignment is not None
    assert assignment.remote is not None
    elsewhere = TrialPaths(tmp_path / "elsewhere")
    elsewhere.root.mkdir()
    elsewhere.best.write_text("there")
    RemoteTrial(assignment.remote).keep(elsewhere, attempt=1)
    with monkeypatch.context() as away:
        away.setattr("sweeper.driver.homecoming._PATIENCE", 0.0)
        away.setattr("sweeper.trial.remote.locate", lambda _: (_ for _ in ()).throw(OSError("no route to host")))
        attempts.epoch_ended("a", epoch(1, 0.5))
        attempts.ended("a", None)
        attempts.close()
    assert not sweep.paths.trial(0).best.exists()
    later = Attempts(sweep, slots=lambda: 1)
    later.take_over()
    later.close()
    assert sweep.paths.trial(0).best.read_text() == "there"

"""The worker's three steps: begin, epoch after epoch, next trial. Here without Ray around it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeper.driver.assignment import Assignment, Message
from sweeper.driver.worker import TrialWorker
from sweeper.errors import EngineError
from sweeper.paths import CachePaths, TrialPaths
from sweeper.records import WorkerState
from sweeper.spec import TrialConfig


@pytest.fixture
def assign(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes Tune's configuration for a tiny trial."""

    def _assign(number: int, **train: Any) -> dict[str, Any]:
        config = TrialConfig.model_validate(
            {
                "backbone": "test_efficientnet",
                "weights": "random",
                "data": {"source": "digits", "image_size": 32},
                "train": {"epochs": 1, "batch_size": 256, **train},
            }
        )
        return Assignment(
            sweep="tiny", number=number, attempt=1, config=config, folder=tmp_path / str(number), cache=CachePaths.default().root,
            device="cpu", threads=1,
        ).to_ray()  # fmt: skip

    return _assign


@pytest.fixture
def start() -> Callable[[dict[str, Any]], TrialWorker]:
    """Starts a worker as Tune does, but for its constructor, which wants a Ray session."""

    def _start(config: dict[str, Any]) -> TrialWorker:
        worker = TrialWorker.__new__(TrialWorker)
        worker.setup(config)
        return worker

    return _start


def test_a_worker_runs_one_trial_after_another(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker], tmp_path: Path
) -> None:
    worker = start(assign(0))
    first = Message.from_ray(worker.step())
    assert first.epoch is not None
    assert Message.from_ray(worker.step()) == Message()
    assert worker.reset_config(assign(1))
    assert Message.from_ray(worker.step()).epoch is not None
    worker.cleanup()
    assert (tmp_path / "0" / "best.safetensors").exists()
    assert "Trial 1, attempt 1." in (tmp_path / "1" / "trial.log").read_text()
    assert "Trial 1" not in (tmp_path / "0" / "trial.log").read_text()
    assert not [h for h in logging.getLogger("sweeper").handlers if isinstance(h, logging.FileHandler)]


@pytest.mark.slow
def test_a_trial_with_two_gpus_trains_in_two_processes(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker]
) -> None:
    assignment = Assignment.from_ray(assign(0)).model_copy(update={"gpus": 2.0})  # on a CPU, as here is no GPU
    worker = start(assignment.to_ray())
    assert Message.from_ray(worker.step()).epoch is not None

    def peers() -> list[list[str]]:
        lines = [child.cmdline() for child in psutil.Process().children()]
        return [line for line in lines if line[-1:] == ["sweeper.trial.peer"]]

    assert len(peers()) == 1
    worker.cleanup()
    assert peers() == []


def test_a_failure_is_an_answer_and_the_log_has_the_traceback(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker], tmp_path: Path
) -> None:
    worker = start(assign(0, lr=1e30, warmup_epochs=0, clip_grad=None, optimizer="sgd"))
    failure = Message.from_ray(worker.step()).failure
    assert failure is not None
    assert "finite" in failure.reason
    assert "TrialError" in failure.traceback
    assert "Traceback" in (tmp_path / "0" / "trial.log").read_text()
    # An error of ours leaves the worker as it was: it may go on.
    assert worker.reset_config(assign(1))
    worker.cleanup()


def test_a_worker_ends_after_an_error_that_nobody_foresaw(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker], tmp_path: Path
) -> None:
    worker = start(assign(0))
    (tmp_path / "0" / "config.json").mkdir()  # nothing can be written there now
    result = worker.step()
    message = Message.from_ray(result)
    assert message.failure is not None
    assert message.failure.reason.startswith("IsADirectoryError: ")
    assert (message.fit, result["done"]) == (False, False)
    with pytest.raises(EngineError):
        worker.step()
    worker.cleanup()


def test_a_worker_that_gets_sigterm_saves_where_its_trial_is_and_ends(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker], tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    worker = start(assign(0))
    os.kill(os.getpid(), signal.SIGTERM)
    message = Message.from_ray(worker.step())
    assert message == Message(preempted="The trial goes on from step 0 of epoch 1.", fit=False)
    assert (tmp_path / "0" / "last.ckpt").exists()
    with pytest.raises(EngineError):
        worker.step()
    worker.cleanup()
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_attempt_after_one_that_was_killed_for_memory_takes_half_the_images_at_once(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker], tmp_path: Path
) -> None:
    trial = TrialPaths(tmp_path / "0")
    trial.root.mkdir()
    before = WorkerState(host="h", pid=1, attempt=1, started=0.0, micro_batch=128, killed_for_memory=True)
    trial.worker.write_text(before.model_dump_json())
    worker = start(assign(0))
    epoch = Message.from_ray(worker.step()).epoch
    assert epoch is not None
    assert epoch.micro_batch == 64
    assert "The last attempt was ended for memory: micro-batch 64 of 256 now." in trial.log.read_text()
    worker.cleanup()
    assert not trial.worker.exists()


def test_a_worker_that_keeps_memory_finishes_its_trial_and_is_replaced(
    assign: Callable[..., dict[str, Any]], start: Callable[[dict[str, Any]], TrialWorker], tmp_path: Path
) -> None:
    worker = start(assign(0))
    worker._held = -worker.leak_mb  # as if it had held next to nothing after its first trial
    assert Message.from_ray(worker.step()).epoch is not None
    result = worker.step()
    message = Message.from_ray(result)
    assert (message.failure, message.fit, result["done"]) == (None, False, False)
    assert "MiB more than after its first trial, and is replaced." in (tmp_path / "0" / "trial.log").read_text()
    with pytest.raises(EngineError):
        worker.step()
    worker.cleanup()

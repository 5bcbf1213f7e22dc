"""What is kept of finished trials, and what happens where there is no room."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.disk import is_full, told
from sweeper.driver.attempts import Attempts, Sweep
from sweeper.driver.disk import Disk
from sweeper.driver.requests import Bulletin
from sweeper.folder import read_driver
from sweeper.paths import SweepPaths
from sweeper.records import EpochMetrics, Failure, TrialState, WaitingTrial
from sweeper.spec import SweepSpec

MakeSweep = Callable[..., Sweep]


def epoch(number: int, top1: float) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, top1=top1, top5=1.0, macro_f1=top1, balanced_accuracy=top1, val_loss=1 - top1, train_loss=1.0,
        lr=1e-3, train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=1.0,
    )  # fmt: skip


def run(attempts: Attempts, sweep: Sweep, top1: float, *, failure: Failure | None = None, size: int = 10) -> None:
    """Runs one trial to its end, with the files it would write."""
    assignment = attempts.next("a")
    assert assignment is not None
    trial = sweep.paths.trial(assignment.number)
    trial.root.mkdir(parents=True, exist_ok=True)
    trial.best.write_bytes(b"w" * size)
    trial.checkpoint.write_bytes(b"s" * size)
    attempts.epoch_ended("a", epoch(1, top1))
    attempts.ended("a", failure)


def weights(sweep: Sweep) -> list[int]:
    return [number for number in range(9) if sweep.paths.trial(number).best.exists()]


def test_the_best_weights_of_the_sweep_are_kept_and_what_others_need(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 6}, train={"epochs": 1, "batch_size": 128}, checkpoints={"keep": 2})
    attempts = Attempts(sweep, slots=lambda: 2)
    running = attempts.next("running")
    assert running is not None
    sweep.paths.trial(0).root.mkdir(parents=True)
    sweep.paths.trial(0).best.touch()
    sweep.paths.trial(1).root.mkdir(parents=True)
    sweep.paths.trial(1).keep.touch()  # a teacher
    for top1 in (0.1, 0.5, 0.9, 0.3, 0.7):
        run(attempts, sweep, top1)
    assert weights(sweep) == [0, 1, 3, 5]


def test_a_failed_trial_keeps_its_state_until_the_budget_is_used_up(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.driver.disk._COUNT_SECONDS", 0.0)
    sweep = make_sweep(search={"trials": 4}, train={"epochs": 1, "batch_size": 128}, checkpoints={"disk_gb": 2.5e-6})
    attempts = Attempts(sweep, slots=lambda: 1)
    run(attempts, sweep, 0.1, failure=Failure(reason="no luck"), size=1000)
    assert sweep.paths.trial(0).checkpoint.exists()
    run(attempts, sweep, 0.9, size=1000)
    assert not sweep.paths.trial(0).checkpoint.exists()
    assert weights(sweep) == [0, 1]
    run(attempts, sweep, 0.5, size=1000)
    assert weights(sweep) == [1, 2]


def test_a_trial_that_found_the_disk_full_waits_and_is_not_lost(make_sweep: MakeSweep, diary: object) -> None:
    sweep = make_sweep(search={"trials": 1})
    attempts = Attempts(sweep, slots=lambda: 1)
    attempts.next("a")
    attempts.disk_filled("a")
    assert sweep.ledger.record(0).state is TrialState.RUNNING
    state = read_driver(sweep.paths)
    assert state is not None
    assert state.waiting[0].why == "the disk was full; it goes on from its last epoch when there is room"
    assert diary.lines == ["0 started, attempt 1"]  # type: ignore[attr-defined]
    again = attempts.next("b")
    assert again is not None
    assert again.attempt == 2


SMALL_DISK = """
import os, sys
from pathlib import Path
from sweeper.disk import is_full
from sweeper.driver.disk import Disk
from sweeper.driver.requests import Bulletin
from sweeper.paths import SweepPaths, written_aside
from sweeper.spec import SweepSpec
import torch
from sweeper.trial.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

paths = SweepPaths(Path(sys.argv[1]) / "tiny")
paths.root.mkdir()
spec = SweepSpec.model_validate({"name": "tiny", "data": {"source": "digits"}, "backbone": "b"})
disk = Disk(spec, paths)
assert disk.why_full() is None, disk.why_full()
state = lambda count: Checkpoint("hash", (), 1, 1, {"w": torch.ones(count)}, {}, {})
save_checkpoint(state(2**20), paths.trial(0).checkpoint)
try:
    save_checkpoint(state(2**23), paths.trial(0).checkpoint)
except Exception as error:
    assert is_full(error), repr(error)
    print("full")
assert len(load_checkpoint(paths.trial(0).checkpoint, config_hash="hash").model["w"]) == 2**20
filler = paths.root / "filler"
filler.write_bytes(b"x" * (19 * 2**20))
disk.filled()
print(disk.why_full())
filler.unlink()
disk.filled()
print(disk.why_full())
"""


def test_a_disk_that_is_full_is_told_and_the_old_state_stays_whole(tmp_path: Path) -> None:
    mounted = f"mount -t tmpfs -o size=30m none {tmp_path} && exec {sys.executable} -c '{SMALL_DISK}' {tmp_path}"
    command = ["unshare", "-rm", "sh", "-c", mounted]
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody but root mount a small disk")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    full, told_full, told_free = done.stdout.splitlines()
    assert full == "full"
    assert told_full == (
        f"The disk of `{tmp_path}/tiny` is full: 7 MB are free, and a trial needs about 19 MB. Delete what you can do "
        "without; the sweep goes on by itself when there is room."
    )
    assert told_free == "None"


def test_a_sweep_larger_than_its_budget_pauses_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.driver.disk._COUNT_SECONDS", 0.0)
    spec = SweepSpec.model_validate(
        {"name": "tiny", "data": {"source": "digits"}, "backbone": "b", "checkpoints": {"disk_gb": 0.001}}
    )
    paths = SweepPaths(tmp_path)
    paths.trial(0).root.mkdir(parents=True)
    paths.trial(0).checkpoint.write_bytes(b"x" * 2_000_000)
    assert Disk(spec, paths).why_full() == (
        "The sweep takes 2 MB, more than `checkpoints.disk_gb`, 0.001, though all that may go is gone. Raise it with "
        "`sweeper stop` and `sweeper resume tiny --set checkpoints.disk_gb=0.002`."
    )


def test_every_way_to_say_that_a_disk_is_full_is_known() -> None:
    assert is_full(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    wrapped = RuntimeError("the ledger cannot be written")
    wrapped.__cause__ = OSError(errno.EDQUOT, "quota")
    assert is_full(wrapped)
    assert is_full(RuntimeError("(sqlite3.OperationalError) database or disk is full"))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
    assert (told(1.25e9), told(38e6)) == ("1.2 GB", "38 MB")


def test_a_full_disk_is_told_in_the_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bulletin = Bulletin(SweepPaths(tmp_path))
    bulletin.tell(slots=2, running=[0, 1], waiting=[WaitingTrial(number=2, why="the disk was full " * 9)])

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sweeper.driver.requests.written_aside", no_room)
    bulletin.tell(slots=2, running=[], waiting=[], paused="The disk is full.")
    told_last = read_driver(SweepPaths(tmp_path))
    assert told_last is not None
    assert (told_last.running, told_last.paused) == ((), "The disk is full.")

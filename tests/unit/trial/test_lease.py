"""Two attempts at one trial: the later one has the trial's files, whatever the earlier one is in the middle of."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sweeper.errors import SupersededError
from sweeper.paths import TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.lease import Lease, end_attempts
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]


def superseded(attempt: int, folder: Path) -> str:
    return re.escape(
        f"Only the latest attempt at a trial may write its files, but attempt {attempt} in `{folder}` was taken for "
        "lost, and a later one goes on; this one ends."
    )


def test_a_later_attempt_takes_the_files_from_an_earlier_one_in_the_middle_of_writing(tmp_path: Path) -> None:
    paths = TrialPaths(tmp_path)
    paths.best.write_text("old")
    first = Lease.take(paths, attempt=9)
    leases = [first]

    def write_while_another_begins() -> None:
        with first.written(paths.best) as aside:
            aside.write_text("of the first")
            leases.append(Lease.take(paths, attempt=10))

    with pytest.raises(SupersededError, match=f"^{superseded(9, tmp_path)}$"):
        write_while_another_begins()
    second = leases[-1]
    with second.written(paths.best) as aside:
        aside.write_text("of the second")
    # Neither can it begin to write, nor be started late.
    with pytest.raises(SupersededError), first.written(paths.best) as aside:
        aside.write_text("of the first")
    with pytest.raises(SupersededError):
        Lease.take(paths, attempt=9)
    assert paths.best.read_text() == "of the second"
    second.release()
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


def test_a_trial_that_is_over_belongs_to_no_attempt(tmp_path: Path) -> None:
    paths = TrialPaths(tmp_path)
    lease = Lease.take(paths, attempt=3)
    end_attempts(paths)
    with pytest.raises(SupersededError), lease.written(paths.checkpoint) as aside:
        aside.write_text("late")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_writer_stays_what_it_is(tmp_path: Path) -> None:
    lease = Lease.take(TrialPaths(tmp_path), attempt=1)
    with pytest.raises(OSError, match="disk"), lease.written(tmp_path / "file"):
        raise OSError("disk")


ATTEMPT = """
import sys
from pathlib import Path
from sweeper.paths import CachePaths, TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
root, attempt, cache = Path(sys.argv[1]), int(sys.argv[2]), CachePaths(Path(sys.argv[3]))
config = TrialConfig.model_validate_json((root.parent / "config.json").read_text())
for metrics in run_trial(config, TrialPaths(root), runtime=Runtime("cpu", 1, cache, attempt)):
    print(metrics.epoch, flush=True)
"""


@pytest.mark.slow
def test_a_worker_that_was_taken_for_lost_spoils_nothing_when_it_comes_back(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(make_config(train={"epochs": 400}).model_dump_json())
    paths = TrialPaths(tmp_path / "trial")

    def start(attempt: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", ATTEMPT, str(paths.root), str(attempt), str(runtime.cache.root)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def read_until(attempt: subprocess.Popen[str], epoch: int) -> None:
        assert attempt.stdout is not None
        for line in attempt.stdout:
            if int(line) >= epoch:
                return
        pytest.fail(attempt.communicate()[1])

    first = start(1)
    second: subprocess.Popen[str] | None = None
    try:
        read_until(first, 3)
        os.kill(first.pid, signal.SIGSTOP)  # as a network that is cut does to a node
        second = start(2)
        read_until(second, 5)
        os.kill(second.pid, signal.SIGSTOP)
        before = paths.best.read_bytes(), paths.checkpoint.read_bytes()
        os.kill(first.pid, signal.SIGCONT)
        told = first.communicate(timeout=60)[1].strip().splitlines()[-1]
        assert re.fullmatch(rf"sweeper\.errors\.SupersededError: {superseded(1, paths.root)}", told)
        assert (paths.best.read_bytes(), paths.checkpoint.read_bytes()) == before
        os.kill(second.pid, signal.SIGCONT)
        read_until(second, 7)
        assert len(torch.load(paths.checkpoint, weights_only=True)["history"]) >= 7
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate()

"""`sweeper retry` and `sweeper stop --trial` on a sweep that no driver runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.folder import write_folder
from sweeper.paths import SweepPaths
from sweeper.records import Failure, TrialState
from sweeper.search import Ledger, open_ledger, storage_url
from sweeper.spec import load_spec

Sweeper = Callable[..., Any]


@pytest.fixture
def ledger(sweeper: Sweeper) -> Ledger:
    """A dead sweep of two trials: 0 has failed, 1 was interrupted."""
    paths = SweepPaths(Path("sweeps/tiny").absolute())
    paths.root.mkdir(parents=True)
    spec = load_spec(Path("tiny.yaml"), ["space.lr={choice: [0.01, 1.0e+30]}", "search={trials: 2, sampler: grid}",
                                         "train.optimizer=sgd", "train.warmup_epochs=0", "train.clip_grad=null"])  # fmt: skip
    write_folder(paths, spec, source=None)
    ledger = open_ledger(spec, storage_url(spec, paths), create=True)
    ledger.ask()
    ledger.ask()
    return ledger


def test_a_failed_trial_runs_again_here_and_nothing_of_the_sweep_changes(sweeper: Sweeper, ledger: Ledger) -> None:
    ledger.fail(0, Failure(reason="out of luck"))
    answer = sweeper("retry", "tiny", "0", "--json")
    assert answer.code == 0, answer.err
    assert answer.err.startswith("epoch 1/1  top-1 0.")
    assert f"what it wrote is in `{Path('sweeps/tiny/trials/0000/retry').absolute()}`" in answer.err
    told = json.loads(answer.out)
    assert (told["number"], len(told["epochs"]), told["traceback"]) == (0, 1, None)
    assert ledger.record(0).state is TrialState.FAILED
    assert not Path("sweeps/tiny/trials/0000/best.safetensors").exists()


def test_a_trial_that_fails_again_shows_the_whole_traceback(sweeper: Sweeper, ledger: Ledger) -> None:
    ledger.fail(1, Failure(reason="out of luck"))
    answer = sweeper("retry", "tiny", "1")
    assert answer.code == 1
    assert "Traceback (most recent call last):" in answer.err
    assert "sweeper.errors.TrialError: The training loss must be finite" in answer.err
    assert answer.err.endswith("Trial 1 failed again, after 0 epochs.\n")


def test_only_a_failed_trial_can_be_run_again(sweeper: Sweeper, ledger: Ledger) -> None:
    ledger.fail(0, Failure(reason="out of luck"))
    assert sweeper("retry", "tiny", "1").err == (
        "sweeper: Only a trial that failed can be run again, but trial 1 is running; those that failed: 0.\n"
    )
    assert sweeper("retry", "tiny", "7").code == 2


def test_one_trial_of_a_dead_sweep_can_be_stopped(sweeper: Sweeper, ledger: Ledger) -> None:
    assert sweeper("stop", "tiny", "--trial", "1").out == (
        "Trial 1 is stopped; `sweeper resume tiny` goes on with the others.\n"
    )
    record = ledger.record(1)
    assert (record.state, record.stop_reason) == (TrialState.STOPPED, "ended by `sweeper stop --trial`")
    again = sweeper("stop", "tiny", "--trial", "1")
    assert (again.code, again.err) == (
        2,
        "sweeper: Only a trial that is under way can be stopped, but trial 1 of `tiny` is stopped; "
        "`sweeper status tiny` shows those that are.\n",
    )


def test_a_sweep_that_does_not_run_cannot_be_paused(sweeper: Sweeper, ledger: Ledger) -> None:
    assert sweeper("pause", "tiny").out == "tiny is not running; `sweeper resume tiny` starts it again.\n"
    assert not Path("sweeps/tiny/pause").exists()

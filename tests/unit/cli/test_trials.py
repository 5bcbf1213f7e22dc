"""`sweeper diff` and `sweeper rerun`, as people call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.paths import CachePaths
from sweeper.records import Decision
from sweeper.spec import resolve
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from tests.unit.answers import made_sweep
from tests.unit.cli.conftest import Answer

Sweeper = Callable[..., Answer]


def test_two_trials_of_two_sweeps_are_compared(sweeper: Sweeper) -> None:
    made_sweep(Path("sweeps"), [range(30), range(10)])
    made_sweep(Path("sweeps"), [range(30)], name="other")
    answer = sweeper("diff", "made", "0", "1")
    assert answer.code == 0, answer.err
    assert "Of 200 images 0 are right in `made/0` only and 20 in `made/1` only" in answer.out
    assert "From `made/0` to `made/1` the gain is +0.1000 top-1, 95 % +0.0649 to +0.1450" in answer.out
    found = json.loads(sweeper("diff", "made", "1", "0", "--with", "other", "--json").out)
    assert (found["right"], found["images"]["only_left"]) == ("other/0", 20)
    answer = sweeper("diff", "made", "0", "7")
    message = "sweeper: `made` must have a trial 7 with a finished epoch, but it does not exist; there are 0 to 1.\n"
    assert (answer.code, answer.err) == (2, message)


@pytest.fixture
def ran(sweeper: Sweeper) -> None:
    """A sweep with one trial that was trained."""
    small: dict[str, Any] = {
        "data": {"source": "digits", "image_size": 32},
        "weights": "random",
        "train": {"epochs": 2, "batch_size": 512},
        "space": {"lr": {"log": [1e-3, 1e-2]}},
        "search": {"trials": 2, "sampler": "random", "prior": "none"},
    }
    spec, paths, ledger = made_sweep(Path("sweeps"), [range(20)], **small)
    suggestion = ledger.ask()
    assert suggestion is not None
    runtime = Runtime(device="cpu", threads=1, cache=CachePaths.default())
    for epoch in run_trial(resolve(spec, suggestion.params), paths.trial(1), runtime=runtime):
        assert ledger.report(1, epoch, is_last=epoch.epoch == 2) is Decision.CONTINUE
    ledger.complete(1)


@pytest.mark.usefixtures("ran")
def test_a_trial_gives_the_same_numbers_again_or_says_where_not(sweeper: Sweeper) -> None:
    answer = sweeper("rerun", "made", "1")
    assert (answer.code, answer.out) == (0, "Trial 1 gives the same numbers again, in all 2 epochs.\n")
    invented = sweeper("rerun", "made", "0", "--json")  # its numbers were never trained
    report = json.loads(invented.out)
    assert (invented.code, report["same"], report["parting"]) == (1, False, 1)
    assert report["numbers"]["top1"][0] == 0.9

"""`sweeper confirm`: which trials run again is settled once, through a real Ray, and the test is used once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sweeper.driver.confirm import asked_before, confirm_sweep, settle_plan
from sweeper.driver.observer import SweepObserver
from sweeper.driver.preflight import prepare, write_data
from sweeper.errors import InputError
from sweeper.paths import CachePaths
from sweeper.predictions import read_predictions
from sweeper.records import HeldOutScore
from sweeper.search import open_ledger, storage_url
from sweeper.spec import resolve
from sweeper.spec.search import ConfirmSpec
from sweeper.trial.held_out import score_held_out
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from tests.unit.answers import made_sweep

SMALL: dict[str, Any] = {
    "data": {"source": "digits", "image_size": 32, "split": {"val": 0.05, "test": 0.05}},
    "weights": "random",
    "train": {"epochs": 1, "batch_size": 256},
    "space": {"lr": {"log": [1e-3, 1e-2]}},
}


class Notes(SweepObserver):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_the_best_trials_are_chosen_once_and_may_get_more_seeds(tmp_path: Path) -> None:
    spec, paths, ledger = made_sweep(tmp_path, [range(60), range(20), range(30)], seed=5)
    plan = settle_plan(spec, paths, ledger, ConfirmSpec(top=2, seeds=2))
    assert (plan.trials, plan.seeds) == ((1, 2), (6, 7))  # never the sweep's own seed
    assert settle_plan(spec, paths, ledger, ConfirmSpec(top=2, seeds=3)).seeds == (6, 7, 8)
    assert asked_before(spec, paths) == ConfirmSpec(top=2, seeds=3)  # what is asked for where nothing is
    assert settle_plan(spec, paths, ledger, ConfirmSpec(top=2, seeds=2)).seeds == (6, 7, 8)
    message = (
        "The trials that run over seeds are chosen once, and 2 were; ask for as many, not for 3, with `--top` or "
        "`search.confirm.top`."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        settle_plan(spec, paths, ledger, ConfirmSpec(top=3, seeds=2))


def test_without_a_ranked_trial_there_is_nothing_to_confirm(tmp_path: Path) -> None:
    bound = {"trials": 1, "sampler": "random", "constraints": {"latency_ms": {"max": 1}}}
    spec, paths, ledger = made_sweep(tmp_path, [range(20)], search=bound)
    message = (
        "Trials run over seeds once they are finished and keep to `search.constraints`, but `made` has none that is."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        settle_plan(spec, paths, ledger, ConfirmSpec())


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_runs_over_seeds_lie_under_their_trial_and_the_test_is_used_once(tmp_path: Path) -> None:
    spec, paths, _ = made_sweep(tmp_path, [range(20)], **SMALL)
    write_data(paths, prepare(spec, CachePaths.default(), Notes()))
    (record,) = open_ledger(spec, storage_url(spec, paths), create=False).records()
    list(run_trial(resolve(spec, record.params), paths.trial(0), runtime=Runtime(device="cpu")))
    notes = Notes()
    assert confirm_sweep("made", ConfirmSpec(top=1, seeds=2), root=tmp_path, observer=notes)
    assert notes.lines[0] == "Trials 0 run again over 2 seeds: at most 2 runs."
    for seed in (1, 2):
        assert read_predictions(paths.trial(0).seed(seed).predictions) is not None
        assert not paths.trial(0).seed(seed).checkpoint.exists()
    first = HeldOutScore.model_validate_json(paths.test.read_bytes())
    metrics, said = score_held_out(paths.trial(0).root, runtime=Runtime(device="cpu"))
    assert said is not None
    assert first.metrics == metrics
    assert (len(said.labels), first.images) == (90, 90)
    assert metrics["top1"] == pytest.approx((said.guesses == said.labels).mean())
    again = Notes()
    assert confirm_sweep("made", ConfirmSpec(top=1, seeds=2), root=tmp_path, observer=again)
    (line,) = again.lines  # no run is left, and the number stands
    assert re.fullmatch(r"The held-out test was used on \d{4}-\d\d-\d\d, for trial 0; that number stands\.", line)
    assert HeldOutScore.model_validate_json(paths.test.read_bytes()) == first

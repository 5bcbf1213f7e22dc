"""A sweep at a glance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeper.records import TrialRecord, TrialState
from sweeper.results import status_of
from sweeper.spec import SweepSpec

MakeRecord = Callable[..., TrialRecord]
SPEC = SweepSpec.model_validate(
    {"name": "s", "data": {"source": "digits"}, "backbone": "b", "train": {"epochs": 5}, "search": {"trials": 6},
     "resources": {"cpus_per_trial": 2, "gpus_per_trial": 0.5}}
)  # fmt: skip


def test_a_status_counts_lists_and_names_the_best(make_record: MakeRecord) -> None:
    records = [
        make_record(0, 0.5, 0.7),
        make_record(1, 0.6, state=TrialState.STOPPED),
        make_record(2, state=TrialState.FAILED, reason="no luck"),
        make_record(3, 0.4, state=TrialState.RUNNING),
    ]
    status = status_of(SPEC, records, total=6, alive=True, logs={2: "trials/0002/trial.log"})
    assert status.counts == {
        TrialState.WAITING: 2, TrialState.RUNNING: 1, TrialState.COMPLETE: 1, TrialState.STOPPED: 1,
        TrialState.FAILED: 1,
    }  # fmt: skip
    assert [(r.number, r.epochs, r.of_epochs) for r in status.running] == [(3, 1, 5)]
    assert [(f.number, f.reason, f.log) for f in status.failed] == [(2, "no luck", "trials/0002/trial.log")]
    assert status.best is not None
    assert status.best.number == 0
    assert status.seconds == 48.0


@pytest.mark.parametrize(
    ("states", "alive", "explanation"),
    [
        (
            ["running", "running", "complete"],
            True,
            "3 trials wait because all 2 slots are busy; each trial takes 2 CPU and 0.5 GPU.",
        ),
        ([], True, "6 trials wait for a worker to start."),
        (["complete"] * 4 + ["running"] * 2, True, "The last 2 trials are running."),
        (["complete"] * 6, False, "The sweep is finished."),
        (
            ["running", "complete"],
            False,
            "No driver is running; `sweeper resume s` goes on with 1 interrupted and 4 waiting trials.",
        ),
    ],
)
def test_a_status_says_what_happens_next(
    make_record: MakeRecord, states: list[str], alive: bool, explanation: str
) -> None:
    records = [make_record(number, 0.5, state=TrialState(state)) for number, state in enumerate(states)]
    assert status_of(SPEC, records, total=6, alive=alive, logs={}).explanation == explanation

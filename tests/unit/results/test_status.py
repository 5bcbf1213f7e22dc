"""A sweep at a glance."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from sweeper.cli.tables import running_table
from sweeper.records import DriverState, TrialRecord, TrialState, WaitingTrial, WorkerState
from sweeper.results import Sight, status_of
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
    sight = Sight(alive=True, logs={2: "trials/0002/trial.log"})
    status = status_of(SPEC, records, sight, total=6)
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
    assert status_of(SPEC, records, Sight(alive=alive), total=6).explanation == explanation


def test_a_status_says_why_each_trial_waits(make_record: MakeRecord) -> None:
    driver = DriverState(
        host="a", pid=1, slots=2, running=(0, 1), waiting=(WaitingTrial(number=2, why="its worker or node was lost"),)
    )
    records = [make_record(number, 0.5, state=TrialState.RUNNING) for number in range(3)]
    records.append(make_record(3, state=TrialState.WAITING))
    workers = {0: WorkerState(host="b", pid=7, attempt=1, started=0.0)}
    status = status_of(SPEC, records, Sight(alive=True, driver=driver, workers=workers), total=6)
    assert [(one.number, one.why) for one in status.waiting] == [
        (2, "its worker or node was lost"),
        (3, "its point is queued; no slot is free: trials 0 and 1 hold the 2 slots"),
    ]
    assert [(one.number, one.host, one.pid) for one in status.running] == [(0, "b", 7), (1, None, None)]
    assert (status.counts[TrialState.RUNNING], status.counts[TrialState.WAITING]) == (2, 4)
    assert status.explanation == (
        "4 trials wait because trials 0 and 1 hold the 2 slots; each trial takes 2 CPU and 0.5 GPU."
    )


def test_a_dead_or_paused_sweep_says_so_for_each_of_its_trials(make_record: MakeRecord) -> None:
    records = [make_record(0, 0.5, state=TrialState.RUNNING), make_record(1, state=TrialState.WAITING)]
    dead = status_of(SPEC, records, Sight(alive=False), total=6)
    assert [one.why for one in dead.waiting] == [
        "it was interrupted after epoch 1, and no driver is running",
        "its point is queued; no driver is running",
    ]
    driver = DriverState(host="a", pid=1, slots=2, running=(0,), paused="It was paused.")
    paused = status_of(SPEC, records, Sight(alive=True, driver=driver), total=6)
    assert [one.why for one in paused.waiting] == ["its point is queued; the sweep is paused"]
    assert paused.explanation == "It was paused. Trials that still finish their epoch: 1."


@pytest.mark.parametrize(
    ("resources", "need"),
    [
        ({"accelerator_type": "H100", "gpus_per_trial": 0.5}, "1 CPU and 0.5 GPU of the kind H100"),
        ({"accelerator_type": "H100"}, "1 CPU and a GPU of the kind H100"),
        ({}, "1 CPU"),
    ],
)
def test_a_status_says_what_a_waiting_trial_needs(
    make_record: MakeRecord, resources: dict[str, object], need: str
) -> None:
    spec = SweepSpec.model_validate(SPEC.model_dump() | {"resources": resources})
    status = status_of(spec, [make_record(0, 0.5, state=TrialState.RUNNING)], Sight(alive=True), total=2)
    assert status.explanation == f"1 trial waits because the only slot is busy; each trial takes {need}."


def test_a_status_says_which_part_of_a_gpu_a_trial_has(make_record: MakeRecord) -> None:
    record = make_record(0, 0.5, state=TrialState.RUNNING)
    epoch = record.epochs[-1].model_copy(update={"gpus": 0.25, "micro_batch": 16})
    record = record.model_copy(update={"epochs": (*record.epochs[:-1], epoch)})
    worker = WorkerState(host="b", pid=7, attempt=1, started=0.0)
    status = status_of(SPEC, [record], Sight(alive=True, workers={0: worker}), total=1)
    console = Console(width=120, record=True, file=StringIO())
    console.print(running_table(status))
    assert "b, process 7, 0.25 GPU, micro-batch 16" in console.export_text()

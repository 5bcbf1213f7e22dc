"""The ledger: what is asked, reported and told is there for the next process, once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from sweeper.errors import InputError, SweepFolderError
from sweeper.records import Decision, EpochMetrics, Failure, TrialState
from sweeper.search import Ledger, open_ledger, require_no_ledger, with_storage
from sweeper.spec import SweepSpec

MakeSpec = Callable[..., SweepSpec]
Open = Callable[[SweepSpec], Ledger]
Epoch = Callable[[int, float], EpochMetrics]


def test_a_trial_is_ranked_by_its_best_epoch_and_not_its_last(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    ledger = open_on_disk(make_spec())
    suggestion = ledger.ask()
    assert suggestion is not None
    for number, top1 in enumerate([0.5, 0.9, 0.7], start=1):
        assert ledger.report(suggestion.number, epoch(number, top1)) is Decision.CONTINUE
    ledger.complete(suggestion.number)
    record = ledger.record(suggestion.number)
    assert record.state is TrialState.COMPLETE
    best = record.best_epoch("top1")
    assert best is not None
    assert (best.epoch, best.top1) == (2, 0.9)
    assert record.seconds == 9.0


def test_the_sweep_ends_after_its_trials(make_spec: MakeSpec, open_on_disk: Open) -> None:
    ledger = open_on_disk(make_spec(search={"trials": 2}))
    assert [ledger.ask() is not None for _ in range(3)] == [True, True, False]


def test_another_process_finds_every_epoch_once(make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch) -> None:
    spec = make_spec()
    first = open_on_disk(spec)
    suggestion = first.ask()
    assert suggestion is not None
    first.report(0, epoch(1, 0.5))
    second = open_on_disk(spec)
    assert second.interrupted() == (0,)
    again = second.take_up(0)
    assert (again.params, again.attempt) == (suggestion.params, 2)
    # A trial taken up again tells of its epochs anew, then goes on.
    second.report(0, epoch(1, 0.5))
    second.report(0, epoch(2, 0.6))
    assert [e.epoch for e in second.record(0).epochs] == [1, 2]
    assert second.sweep_id == first.sweep_id


def test_asha_stops_a_trial_that_is_worse_than_the_best_third(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    ledger = open_on_disk(make_spec(search={"trials": 9, "stop": {"asha": {"grace_epochs": 2, "reduction": 3}}}))
    decisions = []
    for number, top1 in enumerate([0.9, 0.8, 0.1]):
        assert ledger.ask() is not None
        assert ledger.report(number, epoch(1, top1)) is Decision.CONTINUE
        decisions.append(ledger.report(number, epoch(2, top1)))
    assert decisions[-1] is Decision.STOP
    ledger.stop(2)
    assert ledger.record(2).state is TrialState.STOPPED


def test_a_decision_that_was_lost_with_the_driver_is_made_again(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    spec = make_spec(search={"trials": 9, "stop": {"asha": {"grace_epochs": 1, "reduction": 3}}})
    ledger = open_on_disk(spec)
    decisions = []
    for number, top1 in enumerate([0.9, 0.8, 0.1]):
        ledger.ask()
        decisions.append(ledger.report(number, epoch(1, top1)))
    assert decisions[-1] is Decision.STOP
    assert open_on_disk(spec).report(2, epoch(1, 0.1)) is Decision.STOP


def test_a_failed_trial_keeps_its_reason(make_spec: MakeSpec, open_on_disk: Open) -> None:
    ledger = open_on_disk(make_spec())
    ledger.ask()
    ledger.fail(0, Failure(reason="out of luck", traceback="Traceback ..."))
    record = ledger.record(0)
    assert record.state is TrialState.FAILED
    assert record.failure == Failure(reason="out of luck", traceback="Traceback ...")


def test_a_trial_that_ends_without_an_epoch_has_failed(make_spec: MakeSpec, open_on_disk: Open) -> None:
    ledger = open_on_disk(make_spec())
    ledger.ask()
    ledger.complete(0)
    assert ledger.record(0).state is TrialState.FAILED


def test_a_final_state_is_final(make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch) -> None:
    ledger = open_on_disk(make_spec())
    ledger.ask()
    ledger.report(0, epoch(1, 0.5))
    ledger.complete(0)
    ledger.stop(0)
    assert ledger.record(0).state is TrialState.COMPLETE


def test_seed_points_run_first_and_once(make_spec: MakeSpec, open_on_disk: Open) -> None:
    spec = make_spec(points=[{"lr": 1e-3, "freeze_depth": 1}, {"lr": 2e-3}])
    open_on_disk(spec)
    ledger = open_on_disk(spec)
    points = [suggestion.params for suggestion in iter(ledger.ask, None)]
    assert points[0] == {"lr": 1e-3, "freeze_depth": 1}
    assert points[1]["lr"] == 2e-3
    assert len(points) == 6


def test_fixed_and_conditional_parameters_are_recorded_as_they_applied(make_spec: MakeSpec, open_on_disk: Open) -> None:
    spec = make_spec(
        space={
            "augment.policy": {"choice": ["none", "3a"]},
            "augment.mixup": {"uniform": [0.1, 0.8], "when": {"augment.policy": "3a"}},
            "weight_decay": {"fixed": 0.1},
        },
        search={"trials": 12, "sampler": "random"},
    )
    ledger = open_on_disk(spec)
    for suggestion in iter(ledger.ask, None):
        assert suggestion.params["weight_decay"] == 0.1
        assert ("augment.mixup" in suggestion.params) == (suggestion.params["augment.policy"] == "3a")
        assert ledger.record(suggestion.number).params == suggestion.params
    assert {record.params["augment.policy"] for record in ledger.records()} == {"none", "3a"}


def test_a_grid_is_every_point_once_without_those_that_nothing_reads(make_spec: MakeSpec, open_on_disk: Open) -> None:
    spec = make_spec(
        space={
            "freeze_depth": {"int": [0, 1]},
            "augment.policy": {"choice": ["none", "3a"]},
            "augment.mixup": {"choice": [0.1, 0.2], "when": {"augment.policy": "3a"}},
        },
        search={"trials": 100, "sampler": "grid"},
    )
    ledger = open_on_disk(spec)
    points = [suggestion.params for suggestion in iter(ledger.ask, None)]
    assert ledger.total == len(points) == 6
    assert len({tuple(sorted(point.items(), key=str)) for point in points}) == 6


def test_a_ledger_that_does_not_exist_is_not_made_by_looking(make_spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(
        SweepFolderError, match=r"^The sweep `sweep` has no trials yet; `sweeper resume sweep` starts them\.$"
    ):
        open_ledger(make_spec(), f"sqlite:///{tmp_path}/empty.db", create=False)


def test_a_trial_that_ran_to_its_end_is_complete_whatever_the_stop_rule_says(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    ledger = open_on_disk(make_spec(search={"trials": 9, "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}}))
    for number, top1 in enumerate([0.9, 0.1]):
        ledger.ask()
        assert ledger.report(number, epoch(1, top1), is_last=True) is Decision.CONTINUE


def test_an_epoch_that_was_half_written_is_written_whole(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch, tmp_path: Path
) -> None:
    spec = make_spec()
    ledger = open_on_disk(spec)
    ledger.ask()
    ledger.report(0, epoch(1, 0.5))
    with sqlite3.connect(tmp_path / "study.db") as storage:  # as if the driver had died between two writes
        storage.execute("delete from trial_intermediate_values")
    open_on_disk(spec).report(0, epoch(1, 0.5))
    with sqlite3.connect(tmp_path / "study.db") as storage:
        assert storage.execute("select step, intermediate_value from trial_intermediate_values").fetchall() == [
            (1, 0.5)
        ]


def test_who_only_looks_queues_nothing(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(points=[{"lr": 1e-3}])
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name=spec.name, storage=url)  # a driver that has not come to its seed points yet
    assert open_ledger(spec, url, create=False).records() == ()
    assert len(open_ledger(spec, url, create=True).records()) == 1


def test_a_new_sweep_does_not_continue_another_ones_study(make_spec: MakeSpec, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    require_no_ledger(make_spec(), url)
    open_ledger(make_spec(), url, create=True)
    with pytest.raises(SweepFolderError, match="has a study `sweep` already, from another sweep folder"):
        require_no_ledger(make_spec(), url)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/study.db", "mysql+nodriver://u:secret@h/d"])
def test_a_storage_that_cannot_be_opened_is_the_users_input(make_spec: MakeSpec, url: str) -> None:
    with pytest.raises(
        InputError, match=r"^`search\.storage` must be a database that Optuna can open, but `"
    ) as caught:
        open_ledger(make_spec(), url, create=True)
    assert "secret" not in str(caught.value)


def test_a_point_without_a_backbone_counts_for_each(make_spec: MakeSpec, open_on_disk: Open) -> None:
    spec = make_spec(
        backbone=None,
        space={"backbone": {"choice": ["a", "b"]}, "lr": {"log": [1e-4, 1e-2]}},
        overrides={"b": {"space": {"lr": {"log": [1e-3, 1e-1]}}}},
        points=[{"lr": 5e-3}] * 4,
        search={"trials": 4, "sampler": "random"},
    )
    suggestions = list(iter(open_on_disk(spec).ask, None))
    assert {suggestion.params["lr"] for suggestion in suggestions} == {5e-3}
    assert {suggestion.params["backbone"] for suggestion in suggestions} == {"a", "b"}


def test_a_new_sweeps_storage_is_the_specs_else_the_environments(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert with_storage(make_spec()).search.storage is None
    monkeypatch.setenv("SWEEPER_STORAGE", "postgresql://sweeper@db/sweeper")
    assert with_storage(make_spec()).search.storage == "postgresql://sweeper@db/sweeper"
    assert with_storage(make_spec(search={"storage": "sqlite:///own.db"})).search.storage == "sqlite:///own.db"


@pytest.mark.parametrize(("also", "promised"), [((), 0.05), (("latency_ms",), None)])
def test_more_trials_promise_no_more_than_a_metric_can_have_and_nothing_of_several(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch, also: tuple[str, ...], promised: float | None
) -> None:
    ledger = open_on_disk(make_spec(search={"trials": 9, "also": also}))
    for top1 in (0.95, 0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1):
        suggestion = ledger.ask()
        assert suggestion is not None
        ledger.report(suggestion.number, epoch(1, top1).model_copy(update={"latency_ms": 1.0}))
        ledger.complete(suggestion.number)
    assert ledger.gain_of_more(trials=20) == (promised if promised is None else pytest.approx(promised))

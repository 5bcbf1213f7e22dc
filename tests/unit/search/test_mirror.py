"""What the driver keeps of its study in memory is what the database has, whatever was written and whatever failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, _CachedStorage
from optuna.trial import TrialState as OptunaState
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from sweeper.records import Decision, EpochMetrics, Failure
from sweeper.search import Ledger, open_ledger
from sweeper.spec import SweepSpec

MakeSpec = Callable[..., SweepSpec]
Open = Callable[[SweepSpec], Ledger]
Epoch = Callable[[int, float], EpochMetrics]


def mirror_and_database(ledger: Ledger, path: Path) -> tuple[BaseStorage, int, list[optuna.trial.FrozenTrial]]:
    study = ledger._study
    read = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{path}/study.db")
    return study._storage, study._study_id, read.get_trials()


def run_some(ledger: Ledger, epoch: Epoch) -> None:
    """Trials that are complete, stopped, failed and running, and one epoch that is not a number."""
    for trial in range(5):
        suggestion = ledger.ask()
        assert suggestion is not None
        number = suggestion.number
        decision = ledger.report(number, epoch(1, 0.1 * trial if trial != 2 else math.inf))
        if trial == 3:
            ledger.fail(number, Failure(reason="out of memory"))
        elif decision is Decision.STOP:
            ledger.stop(number, reason="slow")
        elif trial == 0:
            ledger.report(number, epoch(2, 0.4), is_last=True)
            ledger.complete(number)


def test_after_any_writes_the_mirror_equals_the_database(
    make_spec: MakeSpec, open_on_disk: Open, tmp_path: Path, epoch: Epoch
) -> None:
    spec = make_spec(search={"trials": 8, "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}}, points=[{"lr": 2e-3}])
    ledger = open_on_disk(spec)
    run_some(ledger, epoch)
    mirror, study, database = mirror_and_database(ledger, tmp_path)
    assert {trial.state for trial in database} >= {OptunaState.COMPLETE, OptunaState.FAIL, OptunaState.RUNNING}
    assert mirror.get_all_trials(study) == database
    for states in ((OptunaState.WAITING,), (OptunaState.RUNNING, OptunaState.FAIL), (OptunaState.COMPLETE,)):
        expected = [trial for trial in database if trial.state in states]
        assert mirror.get_all_trials(study, states=states) == expected
    assert [mirror.get_trial(trial._trial_id) for trial in database] == database


def test_a_write_that_failed_or_whose_answer_was_lost_shows_as_the_database_has_it(
    make_spec: MakeSpec, open_on_disk: Open, tmp_path: Path, epoch: Epoch
) -> None:
    ledger = open_on_disk(make_spec())
    run_some(ledger, epoch)
    mirror, study, database = mirror_and_database(ledger, tmp_path)
    running = next(trial._trial_id for trial in database if trial.state is OptunaState.RUNNING)
    real = _CachedStorage.set_trial_user_attr

    def lost(*args: Any, written: bool) -> None:
        if written:
            real(*args)
        raise OperationalError("insert", None, Exception("server closed the connection unexpectedly"))

    for key, written in (("arrived", True), ("did not", False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_CachedStorage, "set_trial_user_attr", lambda *args, w=written: lost(*args, written=w))
            with pytest.raises(OperationalError):
                mirror.set_trial_user_attr(running, key, 1)
        assert mirror.get_all_trials(study) == mirror_and_database(ledger, tmp_path)[2]
    assert mirror.get_trial(running).user_attrs["arrived"] == 1


def test_a_trial_costs_the_same_queries_however_many_there_were(
    make_spec: MakeSpec, tmp_path: Path, epoch: Epoch
) -> None:
    spec = make_spec(search={"trials": 60, "sampler": "random", "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}})
    ledger = open_ledger(spec, f"sqlite:///{tmp_path}/study.db", create=True)
    engine = ledger._study._storage._backend.engine  # type: ignore[attr-defined]
    count = 0

    @event.listens_for(engine, "before_cursor_execute")
    def counted(*_args: Any) -> None:
        nonlocal count
        count += 1

    costs = []
    for _ in range(20):
        before = count
        suggestion = ledger.ask()
        assert suggestion is not None
        ledger.report(suggestion.number, epoch(1, 0.5))
        ledger.report(suggestion.number, epoch(2, 0.5), is_last=True)
        ledger.complete(suggestion.number)
        ledger.records()
        costs.append(count - before)
    assert costs[1:] == [costs[1]] * 19


def test_a_record_is_made_once_while_nothing_is_written(make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch) -> None:
    ledger = open_on_disk(make_spec())
    run_some(ledger, epoch)
    first, second = ledger.records(), ledger.records()
    assert all(one is other for one, other in zip(first, second, strict=True))
    ledger.report(4, epoch(2, 0.7))
    changed = [one.number for one, other in zip(first, ledger.records(), strict=True) if one is not other]
    assert changed == [4]

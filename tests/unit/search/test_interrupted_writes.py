"""A driver that dies at any write of its ledger leaves a sweep that goes on as if it had not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import _CachedStorage
from sqlalchemy.exc import OperationalError

from sweeper.records import Decision, EpochMetrics
from sweeper.search import Ledger, open_ledger
from sweeper.spec import SweepSpec

MakeSpec = Callable[..., SweepSpec]
Open = Callable[[SweepSpec], Ledger]
Epoch = Callable[[int, float], EpochMetrics]

WRITES = (
    "create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr", "set_study_user_attr", "create_new_study",
)  # fmt: skip
EPOCHS = 4


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@contextmanager
def dying_at(write: int, *, done: bool) -> Iterator[None]:
    """The process dies at its so-many-th write to any ledger, before the write is `done` or after."""
    count = 0

    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == write and not done:
                raise Killed
            result = method(*args, **kwargs)
            if count == write:
                raise Killed
            return result

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            patch.setattr(_CachedStorage, name, dying(getattr(_CachedStorage, name)))
        yield


def run(ledger: Ledger, epoch: Epoch) -> None:
    """One driver with one worker, whose trials tell of all their epochs anew when they are taken up."""
    interrupted = list(ledger.interrupted())
    assert len(interrupted) <= 1
    while interrupted or ledger.has_more:
        suggestion = ledger.take_up(interrupted.pop()) if interrupted else ledger.ask()
        assert suggestion is not None
        for number in range(1, EPOCHS + 1):
            value = float(suggestion.params["lr"] or 0) * 0.01 * number + 0.001 * float(
                suggestion.params["freeze_depth"] or 0
            )
            if ledger.report(suggestion.number, epoch(number, value), is_last=number == EPOCHS) is Decision.STOP:
                ledger.stop(suggestion.number)
                break
        else:
            ledger.complete(suggestion.number)


def outcome(ledger: Ledger) -> list[tuple[object, ...]]:
    return [(record.params, record.state, record.epochs) for record in ledger.records()]


@pytest.mark.parametrize(
    ("sampler", "stop"),
    [("tpe", {"asha": {"grace_epochs": 1, "reduction": 2}}), ("random", "hyperband")],
    ids=["tpe-asha", "random-hyperband"],
)
def test_a_sweep_whose_drivers_die_at_every_write_equals_an_undisturbed_one(
    make_spec: MakeSpec, tmp_path: Path, epoch: Epoch, sampler: str, stop: object
) -> None:
    search = {"trials": 6, "sampler": sampler, "stop": stop}
    space = {
        "lr": {"log": [1e-4, 1e-2]},
        "freeze_depth": {"int": [0, 3]},
        "layer_decay": {"uniform": [0.5, 1.0]},
        "weight_decay": {"uniform": [0.0, 0.1]},
    }
    spec = make_spec(points=[{"lr": 2e-3}], train={"epochs": EPOCHS}, space=space, search=search)
    undisturbed = open_ledger(spec, f"sqlite:///{tmp_path}/undisturbed.db", create=True)
    run(undisturbed, epoch)
    draws, deaths = random.Random(0), 0
    ledger = undisturbed
    while ledger is undisturbed or ledger.has_more or ledger.interrupted():
        try:
            with dying_at(draws.randint(1, 9), done=draws.random() < 0.5):
                ledger = open_ledger(spec, f"sqlite:///{tmp_path}/killed.db", create=True)
                run(ledger, epoch)
        except Killed:
            deaths += 1
    assert deaths >= 10
    assert outcome(ledger) == outcome(undisturbed)


def test_a_database_that_is_away_for_a_moment_is_waited_for(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(search={"trials": 5, "sampler": "tpe", "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}})
    ledger, count = open_on_disk(spec), 0

    def unsteady(method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            away = OperationalError("insert", None, Exception("server closed the connection unexpectedly"))
            if count % 7 == 3:
                raise away
            result = method(*args, **kwargs)
            if count % 7 == 6:  # written, but the answer is lost
                raise away
            return result

        return called

    monkeypatch.setattr("sweeper.search.patience._FIRST_PAUSE_SECONDS", 0.001)
    for name in WRITES:
        monkeypatch.setattr(_CachedStorage, name, unsteady(getattr(_CachedStorage, name)))
    run(ledger, epoch)
    assert count > 30
    records = ledger.records()
    assert [record.number for record in records] == [0, 1, 2, 3, 4]
    assert all(record.state.is_finished for record in records)
    assert all([e.epoch for e in record.epochs] == list(range(1, len(record.epochs) + 1)) for record in records)

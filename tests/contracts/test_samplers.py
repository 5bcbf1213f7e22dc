"""What every sampler promises, whatever its method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.records import Decision, EpochMetrics, Failure, ParamValue, TrialState
from sweeper.search import Ledger, open_ledger
from sweeper.spec import SweepSpec

SPACE: dict[str, Any] = {
    "backbone": {"choice": ["vit", "davit"]},
    "lr": {"log": [1e-4, 1e-2]},
    "freeze_depth": {"int": [0, 3]},
    "augment.policy": {"choice": ["none", "3a"]},
    "augment.mixup": {"uniform": [0.1, 0.8], "when": {"augment.policy": "3a"}},
}
OVERRIDES = {"davit": {"space": {"lr": {"log": [1e-6, 1e-5]}}}}


def make_spec(sampler: str, *, trials: int = 14, stop: object = "none") -> SweepSpec:
    search = {"trials": trials, "sampler": sampler, "stop": stop}
    return SweepSpec.model_validate(
        {"name": "s", "data": {"source": "digits"}, "space": SPACE, "overrides": OVERRIDES, "search": search, "seed": 3}
    )


def epoch(number: int, value: float) -> EpochMetrics:
    zeros = dict.fromkeys(
        ("top5", "macro_f1", "balanced_accuracy", "val_loss", "train_loss", "lr", "train_seconds", "eval_seconds",
         "images_per_second", "peak_memory_mb"), 0.0,
    )  # fmt: skip
    return EpochMetrics(epoch=number, top1=value, **zeros)


def run(ledger: Ledger, *, until: int | None = None) -> list[dict[str, ParamValue]]:
    """Runs trials one after another on a made-up objective; returns their points."""
    points: list[dict[str, ParamValue]] = []
    while until is None or len(points) < until:
        suggestion = ledger.ask()
        if suggestion is None:
            break
        points.append(suggestion.params)
        for number in range(1, 4):
            value = -abs(float(suggestion.params["lr"] or 0) - 1e-3) + 0.01 * number
            if ledger.report(suggestion.number, epoch(number, value)) is Decision.STOP:
                ledger.stop(suggestion.number)
                break
        else:
            ledger.complete(suggestion.number)
    return points


@pytest.fixture(params=["curves", "tpe", "random", "gp"])
def sampler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_at(tmp_path: Path) -> Callable[[str, SweepSpec], Ledger]:
    return lambda name, spec: open_ledger(spec, f"sqlite:///{tmp_path}/{name}.db", create=True)


OpenAt = Callable[[str, SweepSpec], Ledger]


def test_values_keep_to_their_ranges_and_conditions(sampler: str, open_at: OpenAt) -> None:
    for point in run(open_at("a", make_spec(sampler))):
        low, high = (1e-6, 1e-5) if point["backbone"] == "davit" else (1e-4, 1e-2)
        assert low <= float(point["lr"] or 0) <= high
        assert point["freeze_depth"] in range(4)
        assert ("augment.mixup" in point) == (point["augment.policy"] == "3a")


def test_the_same_seed_gives_the_same_sweep(sampler: str, open_at: OpenAt) -> None:
    assert run(open_at("a", make_spec(sampler))) == run(open_at("b", make_spec(sampler)))


def test_a_resumed_sweep_is_suggested_what_an_uninterrupted_one_is(sampler: str, open_at: OpenAt) -> None:
    spec = make_spec(sampler)
    uninterrupted = run(open_at("a", spec))
    before = run(open_at("b", spec), until=11)
    after = run(open_at("b", spec))
    assert before + after == uninterrupted


def run_busily(reopen: Callable[[], Ledger], *, killed_after: int | None) -> list[dict[str, ParamValue]]:
    """Two trials at once under a stop rule, every fifth fails; the driver dies once, with trials under way."""
    ledger, points, running = reopen(), list[dict[str, ParamValue]](), dict[int, int]()
    while True:
        while len(running) < 2 and (suggestion := ledger.ask()) is not None:
            points.append(suggestion.params)
            running[suggestion.number] = 1
            if len(points) == killed_after:
                ledger = reopen()
                assert [ledger.take_up(n).params for n in ledger.interrupted()] == [points[n] for n in sorted(running)]
        if not running:
            return points
        for number, at in list(running.items()):
            value = -abs(float(points[number]["lr"] or 0) - 1e-3) + 0.01 * at
            if number % 5 == 4 and at == 2:
                ledger.fail(number, Failure(reason="ValueError: no"))
            elif ledger.report(number, epoch(at, value), is_last=at == 3) is Decision.STOP:
                ledger.stop(number)
            elif at == 3:
                ledger.complete(number)
            else:
                running[number] += 1
                continue
            del running[number]


@pytest.mark.parametrize("sampler", ["curves", "tpe", "random"], indirect=True)
def test_failed_stopped_and_running_trials_are_remembered_as_well(sampler: str, open_at: OpenAt) -> None:
    spec = make_spec(sampler, trials=18, stop={"asha": {"grace_epochs": 2}})
    uninterrupted = run_busily(lambda: open_at("a", spec), killed_after=None)
    assert run_busily(lambda: open_at("b", spec), killed_after=12) == uninterrupted
    states = {record.state for record in open_at("b", spec).records()}
    assert states == {TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED}


def test_a_value_that_is_not_a_number_teaches_nothing(open_at: OpenAt) -> None:
    ledger = open_at("a", make_spec("curves", trials=8))
    for value in (0.5, float("nan"), float("inf"), 0.6):
        suggestion = ledger.ask()
        assert suggestion is not None
        ledger.report(suggestion.number, epoch(1, value))
        ledger.report(suggestion.number, epoch(2, value), is_last=True)
        ledger.complete(suggestion.number)
    assert ledger.ask() is not None


@pytest.mark.parametrize("stop", ["none", "asha", "hyperband", "median"])
def test_every_stop_rule_closes_every_trial(stop: str, open_at: OpenAt) -> None:
    ledger = open_at("a", make_spec("random", stop=stop))
    run(ledger)
    states = [record.state for record in ledger.records()]
    assert len(states) == 14
    assert all(state.is_finished for state in states)
    assert (TrialState.STOPPED in states) == (stop != "none")

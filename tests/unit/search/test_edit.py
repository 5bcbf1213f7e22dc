"""A ledger goes over to another spec: old trials stay what they are, and every sampler goes on from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeper.records import Decision, EpochMetrics, Failure, TrialState
from sweeper.search import Ledger
from sweeper.search.curves import observations
from sweeper.spec import SweepSpec, resolve
from sweeper.spec.edit import edited

MakeSpec = Callable[..., SweepSpec]
Open = Callable[[SweepSpec], Ledger]
Epoch = Callable[[int, float], EpochMetrics]

SPACE = {
    "lr": {"log": [1e-4, 1e-2]},
    "augment.policy": {"choice": ["none", "3a"]},
    "freeze_depth": {"int": [0, 3]},
}


def finish(ledger: Ledger, epoch: Epoch, count: int, *, epochs: int = 4) -> None:
    """Runs trials to their end; those with a larger learning rate come out better."""
    for _ in range(count):
        suggestion = ledger.ask()
        assert suggestion is not None
        for number in range(1, epochs + 1):
            ledger.report(suggestion.number, epoch(number, 0.1 * number + 10 * float(suggestion.params["lr"] or 0)))
        ledger.complete(suggestion.number)


def edit(ledger: Ledger, open_on_disk: Open, before: SweepSpec, *assignments: str) -> tuple[Ledger, SweepSpec]:
    now = edited(before, assignments)
    after = open_on_disk(now)
    after.edit(before)
    return open_on_disk(now), now


@pytest.mark.parametrize("sampler", ["curves", "tpe", "gp"])
def test_a_choice_gets_an_option_more_and_ranges_change(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch, sampler: str
) -> None:
    spec = make_spec(space=SPACE, search={"trials": 6, "sampler": sampler})
    ledger = open_on_disk(spec)
    finish(ledger, epoch, 6, epochs=1)
    before = ledger.records()
    ledger, _ = edit(
        ledger, open_on_disk, spec, "search.trials=+8", "space.augment.policy={choice: [3a, rand-m9, none]}",
        "space.lr={log: [1.0e-3, 1.0e-1]}", "space.freeze_depth={choice: [0, 1]}",
    )  # fmt: skip
    assert ledger.total == 14
    finish(ledger, epoch, 8, epochs=1)
    assert ledger.ask() is None
    records = ledger.records()
    assert records[:6] == before
    assert {record.params["augment.policy"] for record in records[6:]} <= {"3a", "rand-m9", "none"}
    assert all(1e-3 <= float(record.params["lr"] or 0) <= 1e-1 for record in records[6:])
    assert {record.params["freeze_depth"] for record in records[6:]} <= {0, 1}
    assert [set(record.params) for record in records] == [set(SPACE)] * 14


@pytest.mark.parametrize("sampler", ["curves", "tpe"])
def test_the_sampler_still_knows_what_the_old_trials_taught(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch, sampler: str
) -> None:
    spec = make_spec(space=SPACE, search={"trials": 12, "sampler": sampler, "cost_aware": False})
    ledger = open_on_disk(spec)
    for _ in range(12):
        suggestion = ledger.ask()
        assert suggestion is not None
        good = suggestion.params["augment.policy"] == "3a"
        ledger.report(suggestion.number, epoch(1, 0.8 if good else 0.2))
        ledger.complete(suggestion.number)
    ledger, _ = edit(
        ledger, open_on_disk, spec, "search.trials=+5", "space.augment.policy={choice: [none, 3a, trivial]}"
    )
    points = [suggestion.params["augment.policy"] for suggestion in iter(ledger.ask, None)]
    assert points.count("none") <= 1


def test_old_trials_keep_the_settings_that_they_had(make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch) -> None:
    spec = make_spec(space=SPACE, search={"trials": 3, "sampler": "random"})
    ledger = open_on_disk(spec)
    finish(ledger, epoch, 2)
    running = ledger.ask()
    assert running is not None
    configs = [resolve(spec, record.params) for record in ledger.records()]
    ledger, now = edit(
        ledger, open_on_disk, spec, "search.trials=6", "train.epochs=9", "space.drop_path={uniform: [0.0, 0.3]}"
    )
    assert [resolve(now, record.params) for record in ledger.records()] == configs
    assert ledger.record(0).params["epochs"] == 4
    again = ledger.take_up(2)
    assert resolve(now, again.params) == configs[2]
    new = ledger.ask()
    assert new is not None
    assert resolve(now, new.params).train.epochs == 9
    # A second edit takes what the trials really had, not what the first one changed.
    ledger, latest = edit(ledger, open_on_disk, now, "train.epochs=20")
    assert [resolve(latest, record.params).train.epochs for record in ledger.records()] == [4, 4, 4, 9]


def test_the_stop_rule_compares_only_trials_of_one_length(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    spec = make_spec(search={"trials": 4, "sampler": "random", "stop": {"asha": {"grace_epochs": 3, "reduction": 2}}})
    ledger = open_on_disk(spec)
    for number in range(4):
        ledger.ask()
        for index in range(1, 5):
            ledger.report(number, epoch(index, 0.9), is_last=index == 4)
        ledger.complete(number)
    longer, _ = edit(ledger, open_on_disk, spec, "search.trials=+2", "train.epochs=12")
    longer.ask()
    # At a third of its epochs it is behind those that were at their end there, and goes on all the same.
    assert longer.report(4, epoch(3, 0.5)) is Decision.CONTINUE
    longer.ask()
    assert longer.report(5, epoch(3, 0.4)) is Decision.STOP


def test_a_new_stop_rule_takes_old_trials_at_its_own_rungs(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    spec = make_spec(search={"trials": 3, "sampler": "random"})
    ledger = open_on_disk(spec)
    finish(ledger, epoch, 3)
    ledger, _ = edit(
        ledger, open_on_disk, spec, "search.trials=+2", "search.stop={asha: {grace_epochs: 2, reduction: 2}}"
    )
    ledger.ask()
    assert ledger.report(3, epoch(1, 0.01)) is Decision.CONTINUE
    assert ledger.report(3, epoch(2, 0.02)) is Decision.STOP  # the others had at least 0.2 there


def test_queued_points_keep_their_values_and_new_ones_are_queued(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    spec = make_spec(
        space=SPACE, search={"trials": 3, "sampler": "random"},
        points=[{"augment.policy": "none"}, {"augment.policy": "3a"}],
    )  # fmt: skip
    ledger = open_on_disk(spec)
    finish(ledger, epoch, 1)
    ledger, _ = edit(
        ledger, open_on_disk, spec, "search.trials=4", "space.augment.policy={choice: [none, 3a, rand-m9]}",
        "points=[{augment.policy: none}, {augment.policy: 3a}, {augment.policy: rand-m9}]",
    )  # fmt: skip
    assert [one.params["augment.policy"] for one in iter(ledger.ask, None)][:2] == ["3a", "rand-m9"]


def test_a_grid_grows_by_the_points_that_are_new(make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch) -> None:
    spec = make_spec(
        space={"lr": {"choice": [0.1, 0.2]}, "freeze_depth": {"int": [0, 1]}}, search={"trials": 99, "sampler": "grid"}
    )
    ledger = open_on_disk(spec)
    finish(ledger, epoch, 3)
    ledger, _ = edit(ledger, open_on_disk, spec, "space.lr={choice: [0.1, 0.2, 0.3]}")
    finish(ledger, epoch, 3)
    assert ledger.ask() is None
    assert len({tuple(sorted(record.params.items())) for record in ledger.records()}) == ledger.total == 6


def test_a_point_runs_again_as_a_new_trial_and_the_old_one_no_longer_counts(
    make_spec: MakeSpec, open_on_disk: Open, epoch: Epoch
) -> None:
    spec = make_spec(space=SPACE, search={"trials": 2})
    ledger = open_on_disk(spec)
    finish(ledger, epoch, 1)
    failed = ledger.ask()
    assert failed is not None
    ledger.fail(1, Failure(reason="the disk was full"))
    now = edited(spec, ["search.trials=+2"])
    ledger = open_on_disk(now)
    assert ledger.edit(spec, again=[1, 0]) == {1: 2, 0: 3}
    ledger = open_on_disk(now)
    again = ledger.ask()
    assert again is not None
    assert (again.number, again.params) == (2, failed.params)
    assert ledger.record(1).state is TrialState.FAILED
    assert [seen.number for seen in observations(ledger._study, ledger._editions)] == [2]

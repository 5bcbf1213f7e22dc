"""Which parameters mattered."""

from __future__ import annotations

import math
from collections.abc import Callable

from sweeper.records import EpochMetrics
from sweeper.search import Ledger
from sweeper.spec import SweepSpec

MakeSpec = Callable[..., SweepSpec]
OpenLedger = Callable[[SweepSpec], Ledger]
MakeEpoch = Callable[..., EpochMetrics]


def filled(ledger: Ledger, epoch: MakeEpoch, trials: int) -> Ledger:
    """Trials whose top-1 depends on the learning rate alone."""
    for _ in range(trials):
        suggestion = ledger.ask()
        assert suggestion is not None
        lr = float(str(suggestion.params["lr"]))
        ledger.report(suggestion.number, epoch(1, 1 - abs(math.log10(lr) + 3) / 4), is_last=True)
        ledger.complete(suggestion.number)
    return ledger


def test_the_parameter_that_decides_comes_first(
    make_spec: MakeSpec, open_on_disk: OpenLedger, epoch: MakeEpoch
) -> None:
    space = {"freeze_depth": {"int": [0, 3]}, "lr": {"log": [1e-4, 1e-2]}}
    spec = make_spec(space=space, search={"trials": 30, "sampler": "random", "prior": "none"})
    found = filled(open_on_disk(spec), epoch, 30).importances()
    assert list(found) == ["lr", "freeze_depth"]
    assert found["lr"] > 0.8
    assert math.isclose(sum(found.values()), 1.0)


def test_ranges_of_several_backbones_count_as_one_parameter(
    make_spec: MakeSpec, open_on_disk: OpenLedger, epoch: MakeEpoch
) -> None:
    spec = make_spec(
        space={"backbone": {"choice": ["vit", "nat"]}, "lr": {"log": [1e-4, 1e-2]}},
        overrides={"nat*": {"space": {"lr": {"log": [1e-3, 1e-2]}}}},
        search={"trials": 20, "sampler": "random", "prior": "none"},
    )
    assert set(filled(open_on_disk(spec), epoch, 20).importances()) == {"backbone", "lr"}


def test_a_few_trials_say_nothing(make_spec: MakeSpec, open_on_disk: OpenLedger, epoch: MakeEpoch) -> None:
    spec = make_spec(search={"trials": 9, "sampler": "random", "prior": "none"})
    assert filled(open_on_disk(spec), epoch, 9).importances() == {}

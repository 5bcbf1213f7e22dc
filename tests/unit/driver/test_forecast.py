"""A sweep's plan is made once, and what points cost follows from it at every resume."""

from __future__ import annotations

from collections.abc import Callable

from sweeper.driver.attempts import Sweep
from sweeper.driver.forecast import costs_of, settle_plan
from sweeper.planning.machine import place_of
from sweeper.search.advice import Point

MakeSweep = Callable[..., Sweep]


def test_a_resumed_sweep_reads_its_plan_and_its_costs_are_the_same(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(space={"freeze_depth": {"int": [0, 3]}})
    settings = (sweep.paths, place_of(sweep.share, slots=1), sweep.cache, sweep.observer)
    plan = settle_plan(sweep.spec, *settings)
    written = sweep.paths.plan.read_bytes()
    again = settle_plan(sweep.spec, *settings)
    assert again == plan
    assert sweep.paths.plan.read_bytes() == written
    points: list[Point] = [{"backbone": "test_efficientnet", "freeze_depth": depth} for depth in range(4)]
    costs = [costs_of(sweep.spec, plan)(point) for point in points]
    assert costs == [costs_of(sweep.spec, again)(point) for point in points]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > 1.2 * costs[3]


def test_a_plan_that_cannot_be_read_is_made_anew(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.paths.plan.write_text("{}", encoding="utf-8")
    plan = settle_plan(sweep.spec, sweep.paths, place_of(sweep.share, slots=1), sweep.cache, sweep.observer)
    assert plan.name == "tiny"
    assert plan.measurements.rates["test_efficientnet"].measured is not None

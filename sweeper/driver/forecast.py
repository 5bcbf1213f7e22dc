"""The plan that a sweep starts with: made once, before its first trial, and read back at each resume.

What the search is told of costs follows from it, so that a resumed sweep suggests what an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Callable

from sweeper.driver.observer import SweepObserver
from sweeper.paths import CachePaths, SweepPaths
from sweeper.planning.machine import Place
from sweeper.planning.make import PlanOptions, make_plan
from sweeper.planning.plan import Plan, read_plan, write_plan
from sweeper.planning.predict import Predictor
from sweeper.search.advice import Point
from sweeper.spec import SweepSpec

_QUICK = PlanOptions(draws=0, check=False)
"""The preflight has tried all that might not run; a few seconds later the first trial tells more than a closer look."""


def settle_plan(spec: SweepSpec, paths: SweepPaths, place: Place, cache: CachePaths, observer: SweepObserver) -> Plan:
    """Returns the sweep's plan, made now if there is none yet.

    A point that is too large for its memory is told and not refused: a trial that runs out of a GPU's memory goes on
    with smaller parts of its batch.
    """
    found = read_plan(paths)
    if found is not None:
        return found
    plan = make_plan(spec, place, cache, _QUICK)
    write_plan(plan, paths)
    if plan.hours is not None:
        observer.note(f"About {plan.hours:.2g} hours on the clock, if trials are as their files' settings say.")
    for problem in plan.problems:
        observer.note(problem)
    return plan


def costs_of(spec: SweepSpec, plan: Plan) -> Callable[[Point], float]:
    """Returns what predicts the seconds an epoch of a point; only ratios mean something where nothing was measured."""
    images = plan.measurements.images
    return Predictor(spec, plan.place, plan.measurements, num_classes=images.classes if images else 2).cost

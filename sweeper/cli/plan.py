"""`sweeper plan`: what a sweep will cost, before it starts; and afterwards, how well that was foreseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from sweeper.cli import options
from sweeper.errors import SpecError
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.paths import CachePaths, SweepPaths
from sweeper.spec import SweepSpec, load_spec

if TYPE_CHECKING:
    from sweeper.planning.plan import Plan


@click.command("plan")
@click.argument("what", metavar="FILE|SWEEP")
@options.overrides
@options.no_prior
@options.root
@options.as_json
@click.option("--no-measure", is_flag=True, help="Try no steps; then nothing is said of time.")
def command(  # noqa: PLR0913 - one for each option
    what: str, overrides: tuple[str, ...], no_prior: bool, root: Path | None, as_json: bool, no_measure: bool
) -> int:
    """Say what the sweep of a search space FILE will cost, or how well that was foreseen for SWEEP.

    A plan counts parameters, operations and memory without building anything, tries a few steps of each backbone for
    about a second, and refuses points that cannot run. No trial is started.
    """
    if not Path(what).is_file():
        return _show_comparison(find_sweep(workspace_at(root), what), as_json=as_json)
    spec = load_spec(Path(what), (*overrides, *(options.WITHOUT_PRIOR if no_prior else ())))
    from sweeper.cli.plan_tables import show_plan
    from sweeper.planning.machine import place_of, this_machine
    from sweeper.planning.make import PlanOptions, make_plan
    from sweeper.planning.share import share_on, slots_on

    nodes = [this_machine()]
    share = share_on(nodes, spec.resources, where="this machine")
    place = place_of(share, slots=slots_on(nodes, share, spec.resources))
    plan = make_plan(spec, place, CachePaths.default(), PlanOptions(measure=not no_measure))
    start = _start(spec, root)
    if as_json:
        click.echo(json.dumps(plan.model_dump(mode="json") | {"start": start}, indent=2))
    else:
        show_plan(plan, Console(width=None if Console().is_terminal else 160))
        for sentence in start:
            click.echo(f"Start:      {sentence}")
    return _refuse(plan)


def _start(spec: SweepSpec, root: Path | None) -> tuple[str, ...]:
    """Returns what the search would start from, a sentence each."""
    from sweeper.driver.preflight import listed_images
    from sweeper.driver.warm_start import earlier_searches
    from sweeper.search import first_points, settle_prior

    sentences: list[str] = []
    priors = settle_prior(spec)
    if priors:
        families, points = ", ".join(dict.fromkeys(prior.family for prior in priors)), first_points(spec, priors)
        sentences.append(f"The prior of {families}, with {len(points)} first point{'' if len(points) == 1 else 's'}.")
    if spec.search.warm_start:
        earlier = earlier_searches(spec, workspace_at(root), listed_images(spec))
        sentences += [f"{one.sentence[0].upper()}{one.sentence[1:]}." for one in earlier]
    return tuple(sentences)


def _refuse(plan: Plan) -> int:
    for problem in plan.problems:
        click.echo(f"sweeper: {problem}", err=True)
    return 2 if plan.problems else 0


def _show_comparison(paths: SweepPaths, *, as_json: bool) -> int:
    from sweeper.cli.plan_tables import show_comparison
    from sweeper.planning.compare import compare
    from sweeper.planning.plan import read_plan
    from sweeper.search import open_ledger, storage_url

    spec, plan = read_spec(paths), read_plan(paths)
    if plan is None:
        raise SpecError(
            f"The sweep `{spec.name}` has no plan in its folder to compare with; plan its file: `sweeper plan FILE`."
        )
    records = open_ledger(spec, storage_url(spec, paths), create=False).records()
    compared = compare(spec, plan, records)
    if as_json:
        options.echo_json(compared)
    else:
        show_comparison(compared, Console(width=None if Console().is_terminal else 160))
    return 0

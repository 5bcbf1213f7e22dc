"""The best trials of a finished sweep run again over seeds, through the same door as trials; then the test, once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sweeper.data import Prepared
from sweeper.driver.attempts import Sweep
from sweeper.driver.cluster import connected, gpu_mb_for, share_for, slots_for
from sweeper.driver.engine import run_trials
from sweeper.driver.observer import NullObserver, SweepObserver
from sweeper.driver.preflight import prepare, require_same_split
from sweeper.driver.process import ended_by_sigterm, logged
from sweeper.errors import InputError
from sweeper.folder import find_sweep, held, read_spec, workspace_at
from sweeper.paths import CachePaths, SweepPaths, TrialPaths, Workspace, written_aside
from sweeper.predictions import save_predictions
from sweeper.records import METRICS, HeldOutScore
from sweeper.search import Ledger, open_ledger, open_seed_ledger, seed_spec, storage_url
from sweeper.seeds import SeedPlan, standings
from sweeper.spec import SweepSpec, dump_spec
from sweeper.spec.objectives import excess
from sweeper.spec.search import ConfirmSpec
from sweeper.tracking import SweepInfo, capture_environment, open_seed_tracker
from sweeper.trial.held_out import score_held_out
from sweeper.trial.runtime import Runtime

_FLUSH_SECONDS = 60.0


def confirm_sweep(
    name: str, asked: ConfirmSpec | None = None, *, root: Path | None = None, observer: SweepObserver | None = None
) -> bool:
    """Runs the best trials of a sweep again over seeds; what was run before stays, and what was cut off goes on.

    Args:
        name: the sweep's name, or its folder.
        asked: how many trials and seeds; None goes on with what was asked before, else with the sweep's file.
        root: the folder that holds all sweeps.
        observer: hears what happens.

    Returns:
        Whether all is done; False where it was stopped.

    Raises:
        InputError: there is no such sweep, it has no ranked trial, or other trials were run over seeds before.
        EngineError: Ray could not be started, or kept failing.
        TrackingError: the tracking server cannot be reached at the start.
    """
    paths = find_sweep(workspace_at(root), name)
    spec = read_spec(paths)
    with held(paths), ended_by_sigterm(), logged(paths):
        paths.stop_request.unlink(missing_ok=True)
        return confirm(spec, paths, asked or asked_before(spec, paths), observer or NullObserver())


def confirm(spec: SweepSpec, paths: SweepPaths, asked: ConfirmSpec | None, observer: SweepObserver) -> bool:
    """Does so for a sweep that this process holds; arguments and errors as those of `confirm_sweep`."""
    ledger = open_ledger(spec, storage_url(spec, paths), create=False)
    plan = settle_plan(spec, paths, ledger, asked or ConfirmSpec())
    runs = open_seed_ledger(spec, plan, storage_url(spec, paths))
    if runs.has_more or runs.interrupted():
        seeds = f"{len(plan.seeds)} seeds"
        observer.note(f"Trials {', '.join(map(str, plan.trials))} run again over {seeds}: at most {plan.total} runs.")
        with connected():
            if not _run(spec, paths, plan, runs, observer):
                return False
    ranked = standings(plan, runs.records(), spec.search.objective)
    if ranked and (asked or ConfirmSpec()).test:
        _use_test(paths, ranked[0].trial, observer)
    return True


def asked_before(spec: SweepSpec, paths: SweepPaths) -> ConfirmSpec:
    """Returns as many trials and seeds as are run already, else as the sweep's file asks for."""
    asked = spec.search.confirm or ConfirmSpec()
    if not paths.seeds.exists():
        return asked
    plan = SeedPlan.model_validate_json(paths.seeds.read_bytes())
    return asked.model_copy(update={"top": len(plan.trials), "seeds": len(plan.seeds)})


def settle_plan(spec: SweepSpec, paths: SweepPaths, ledger: Ledger, asked: ConfirmSpec) -> SeedPlan:
    """Returns which trials run with which seeds: settled once, and from then on only given more seeds.

    Raises:
        InputError: no trial has finished an epoch, or more trials are asked for than before.
    """
    first = (spec.seed + 1) % 2**31
    seeds = tuple((first + number) % 2**31 for number in range(asked.seeds))
    if paths.seeds.exists():
        before = SeedPlan.model_validate_json(paths.seeds.read_bytes())
        if asked.top != len(before.trials):
            raise InputError(
                f"The trials that run over seeds are chosen once, and {len(before.trials)} were; ask for as many, not "
                f"for {asked.top}, with `--top` or `search.confirm.top`."
            )
        plan = before if len(before.seeds) >= len(seeds) else before.model_copy(update={"seeds": seeds})
    else:
        plan = _new_plan(spec, ledger, asked.top, seeds)
    with written_aside(paths.seeds) as aside:
        aside.write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return plan


def _new_plan(spec: SweepSpec, ledger: Ledger, top: int, seeds: tuple[int, ...]) -> SeedPlan:
    """Chooses the trials as the leaderboard ranks them, those that keep to the constraints only."""
    objective = spec.search.objective
    sign = -1.0 if METRICS[objective].higher_is_better else 1.0
    bests = ((record, record.best_epoch(objective)) for record in ledger.records() if record.state.is_finished)
    rated = [
        (sign * best.value(objective), record.number, record.params)
        for record, best in bests
        if best is not None and excess(spec.search.constraints, best) == 0.0
    ]
    if not rated:
        raise InputError(
            f"Trials run over seeds once they are finished and keep to `search.constraints`, but `{spec.name}` has "
            "none that is."
        )
    chosen = sorted(rated, key=lambda one: one[:2])[:top]
    return SeedPlan(
        trials=tuple(number for _, number, _ in chosen), points=tuple(point for _, _, point in chosen), seeds=seeds
    )


@dataclass(frozen=True)
class SeedPaths(SweepPaths):
    """A sweep's folder as the runs over seeds see it: run 4 lies under its trial, `trials/0007/seeds/0002`."""

    seed_plan: SeedPlan

    @property
    def state(self) -> Path:
        """Its own: the numbers in it are those of runs."""
        return self.root / "seeds.driver.json"

    def trial(self, number: int) -> TrialPaths:
        """Returns the folder of run `number`."""
        trial, seed = self.seed_plan.run(number)
        return SweepPaths(self.root).trial(trial).seed(seed)


def _run(spec: SweepSpec, paths: SweepPaths, plan: SeedPlan, runs: Ledger, observer: SweepObserver) -> bool:
    share, cache = share_for(spec.resources), CachePaths.default()
    prepared = prepare(spec, cache, observer)
    require_same_split(paths, prepared, observer)
    sweep_id = open_ledger(spec, storage_url(spec, paths), create=False).sweep_id
    tracker = open_seed_tracker(spec.tracking, Workspace(paths.root.parent), plan)
    tracker.begin(_info(spec, sweep_id, prepared))
    finished = False
    try:
        observer.started(runs.records(), total=runs.total, slots=slots_for(share, spec.resources))
        own = seed_spec(spec, plan)
        gpu_mb = gpu_mb_for(share, spec.resources)
        own_paths = SeedPaths(paths.root, plan)
        finished = run_trials(Sweep(own, own_paths, cache, runs, tracker, observer, share, gpu_mb))
    finally:
        tracker.close(finished=finished, timeout=_FLUSH_SECONDS)
    return finished


def _info(spec: SweepSpec, sweep_id: str, prepared: Prepared) -> SweepInfo:
    return SweepInfo(
        name=spec.name,
        sweep_id=sweep_id,
        objective=spec.search.objective,
        resolved_spec=dump_spec(spec),
        environment=capture_environment(),
        data_fingerprint=prepared.data_fingerprint,
        split_fingerprint=prepared.split_fingerprint,
    )


def _use_test(paths: SweepPaths, trial: int, observer: SweepObserver) -> None:
    """Scores the winner on the held-out test, unless it was used before or there is none."""
    began = Prepared.model_validate_json(paths.data.read_bytes()) if paths.data.exists() else None
    if began is None or "test" not in began.images:
        observer.note("There is no held-out test to score the winner on; `data.split.test` of a next sweep makes one.")
        return
    if paths.test.exists():
        used = HeldOutScore.model_validate_json(paths.test.read_bytes())
        when = time.strftime("%Y-%m-%d", time.localtime(used.scored))
        observer.note(f"The held-out test was used on {when}, for trial {used.trial}; that number stands.")
        return
    metrics, said = score_held_out(paths.trial(trial).root, runtime=Runtime())
    if said is not None:
        save_predictions(said, paths.test_predictions)
    score = HeldOutScore(
        trial=trial,
        metrics=metrics,
        images=began.images["test"],
        split_fingerprint=began.split_fingerprint,
        scored=time.time(),
    )
    with written_aside(paths.test) as aside:
        aside.write_text(score.model_dump_json(indent=2) + "\n", encoding="utf-8")

"""Runs over seeds: every trial in turn, losers given up, nothing of it in the sweep's own study."""

from __future__ import annotations

from pathlib import Path

from sweeper.folder import read_spec
from sweeper.paths import SweepPaths
from sweeper.records import TrialState
from sweeper.search import SeedLedger, open_ledger, open_seed_ledger, storage_url
from sweeper.seeds import SeedPlan, standings
from sweeper.spec import resolve
from tests.unit.answers import made_sweep, metrics


def opened(tmp_path: Path, *, seeds: int = 6) -> tuple[SeedLedger, SeedPlan]:
    spec, paths, ledger = made_sweep(tmp_path, [range(20), range(22)])
    points = tuple(record.params for record in ledger.records())
    plan = SeedPlan(trials=(0, 1), points=points, seeds=tuple(range(1, seeds + 1)))
    return open_seed_ledger(spec, plan, storage_url(spec, paths)), plan


def run(ledger: SeedLedger, plan: SeedPlan, *, behind: float, runs: int = 99) -> list[tuple[int, int]]:
    """Runs to the end; trial 1 is `behind` trial 0 with every seed, give or take a little."""
    done: list[tuple[int, int]] = []
    while len(done) < runs and (suggestion := ledger.ask()) is not None:
        trial, seed = plan.run(suggestion.number)
        assert suggestion.params["seed"] == seed
        top1 = 0.9 + 0.01 * (seed % 3) - (behind + 0.002 * (seed % 2)) * (trial == 1)
        ledger.report(suggestion.number, metrics(1, top1), is_last=True)
        ledger.complete(suggestion.number)
        done.append((trial, seed))
    return done


def test_every_trial_has_a_seed_before_any_has_the_next(tmp_path: Path) -> None:
    ledger, plan = opened(tmp_path, seeds=3)
    assert run(ledger, plan, behind=0.0) == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]


def test_a_run_is_the_trial_but_for_the_seed(tmp_path: Path) -> None:
    spec, paths, _ = made_sweep(tmp_path, [range(20)])
    (record,) = open_ledger(spec, storage_url(spec, paths), create=False).records()
    plan = SeedPlan(trials=(0,), points=(record.params,), seeds=(7, 8))
    suggestion = open_seed_ledger(spec, plan, storage_url(spec, paths)).ask()
    assert suggestion is not None
    trial = resolve(spec, record.params)
    assert resolve(spec, suggestion.params) == trial.model_copy(update={"seed": 7})


def test_a_clear_loser_gets_no_more_seeds(tmp_path: Path) -> None:
    ledger, plan = opened(tmp_path)
    done = run(ledger, plan, behind=0.05)
    # Given up with the first look, after three seeds; the leader gets all six.
    assert [trial for trial, _ in done].count(1) == 3
    assert [trial for trial, _ in done].count(0) == 6
    states = [record.state for record in ledger.records()]
    assert (states.count(TrialState.COMPLETE), states.count(TrialState.STOPPED)) == (9, 3)
    assert not ledger.has_more


def test_a_close_second_gets_them_all(tmp_path: Path) -> None:
    ledger, plan = opened(tmp_path)
    assert len(run(ledger, plan, behind=-0.001)) == 12


def test_more_seeds_can_be_asked_for_later(tmp_path: Path) -> None:
    ledger, plan = opened(tmp_path, seeds=2)
    assert len(run(ledger, plan, behind=0.0)) == 4
    paths = SweepPaths(tmp_path / "made")
    spec = read_spec(paths)
    more = plan.model_copy(update={"seeds": (1, 2, 3)})
    assert run(open_seed_ledger(spec, more, storage_url(spec, paths)), more, behind=0.0) == [(0, 3), (1, 3)]


def test_the_sweep_s_own_study_sees_nothing_of_it(tmp_path: Path) -> None:
    ledger, plan = opened(tmp_path, seeds=2)
    run(ledger, plan, behind=0.0)
    paths = SweepPaths(tmp_path / "made")
    spec = read_spec(paths)
    own = open_ledger(spec, storage_url(spec, paths), create=True)
    assert (len(own.records()), own.ask()) == (2, None)


def test_trials_stand_by_their_mean_over_seeds(tmp_path: Path) -> None:
    ledger, plan = opened(tmp_path, seeds=2)
    run(ledger, plan, behind=-0.05)
    ranked = standings(plan, ledger.records(), "top1")
    assert [one.trial for one in ranked] == [1, 0]
    assert list(ranked[0].values) == [1, 2]

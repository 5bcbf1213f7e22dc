"""Warm start: earlier sweeps, studies and experiments become rows of this sweep's search, weighed by likeness."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeper.data import Prepared
from sweeper.driver.advice import SweepAdvice, read_advice, write_advice
from sweeper.driver.preflight import write_data
from sweeper.driver.warm_start import EarlierSearch, earlier_searches
from sweeper.errors import InputError, SpecError, SweepFolderError
from sweeper.folder import write_folder
from sweeper.paths import SweepPaths, Workspace
from sweeper.records import EpochMetrics
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec

Make = Callable[..., SweepSpec]
DIGITS = Prepared(
    classes=tuple("0123456789"), data_fingerprint="d", split_fingerprint="s", images={"train": 1400}, quarantined=0
)


def make(**fields: Any) -> SweepSpec:
    base: dict[str, Any] = {
        "name": "new",
        "data": {"source": "digits"},
        "backbone": "vit_small_patch16_224",
        "train": {"epochs": 8},
        "space": {"lr": {"log": [1e-4, 1e-2]}, "freeze_depth": {"int": [0, 3]}},
    }
    return SweepSpec.model_validate({**base, **fields})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Holds a finished sweep `old` of two epochs: three trials, one of them outside of the range above."""
    spec = make(
        name="old",
        backbone="vit_tiny_patch16_224",
        train={"epochs": 2, "freeze_depth": 1},
        space={"train.lr": {"log": [1e-6, 1e-2]}, "drop_path": {"uniform": [0.0, 0.3]}},
        points=[{"train.lr": lr} for lr in (1e-3, 2e-3, 1e-5)],
        search={"trials": 3, "sampler": "random"},
    )
    paths = SweepPaths(tmp_path / "old")
    paths.root.mkdir()
    write_folder(paths, spec, source=None)
    write_data(paths, DIGITS)
    ledger = open_ledger(spec, storage_url(spec, paths), create=True)
    for suggestion in iter(ledger.ask, None):
        for epoch in (1, 2):
            numbers = dict.fromkeys(EpochMetrics.model_fields, 0.0) | {
                "epoch": epoch,
                "top1": 0.3 * epoch,
                "macro_f1": 0.2,
            }
            ledger.report(suggestion.number, EpochMetrics.model_validate(numbers), is_last=epoch == 2)
        ledger.complete(suggestion.number)
    return Workspace(tmp_path)


def read(spec: SweepSpec, workspace: Workspace, prepared: Prepared = DIGITS) -> EarlierSearch:
    (found,) = earlier_searches(spec, workspace, prepared)
    return found


def test_a_sweep_is_matched_by_name_and_range_also_where_it_did_not_search(workspace: Workspace) -> None:
    found = read(make(search={"warm_start": [{"sweep": "old"}]}), workspace)
    points = [trial.params for trial in found.matching.trials]
    assert points == [{"lr": 1e-3, "freeze_depth": 1}, {"lr": 2e-3, "freeze_depth": 1}]
    # An epoch of two is half a training, whatever the new one's length is.
    assert found.matching.trials[0].reports == ((0.5, 0.3), (1.0, 0.6))
    assert found.sentence == (
        "warm start: 2 of 3 trials of `old`, weight 0.70 (same images, same family); "
        "1 without a value for `lr` here; `drop_path` is not searched here"
    )
    assert found.for_search().trials[1].params == {"lr": 2e-3, "freeze_depth": 1}
    by_folder = {"warm_start": [{"sweep": str(workspace.root / "old"), "weight": 1.0}], "objective": "macro_f1"}
    again = read(make(search=by_folder), workspace)
    assert (again.weight, again.why) == (1.0, "as the file says")
    assert again.matching.trials[0].reports == ((0.5, 0.2), (1.0, 0.2))


def test_likeness_falls_with_the_images_and_the_backbone(workspace: Workspace) -> None:
    search = {"warm_start": [{"sweep": "old"}]}
    other = DIGITS.model_copy(update={"data_fingerprint": "other", "classes": tuple("0123456789" * 4)})
    assert read(make(search=search), workspace, other).weight == pytest.approx(0.7 * 0.5 * 0.5)
    assert read(make(search=search, backbone="davit_tiny"), workspace).weight == pytest.approx(0.4)
    both = {"backbone": {"choice": ["vit_tiny_patch16_224", "davit_tiny"]}, "lr": {"log": [1e-4, 1e-2]}}
    searched = read(make(search=search, backbone=None, space=both), workspace)
    assert searched.weight == 1.0
    assert searched.matching.trials[0].params == {"backbone": "vit_tiny_patch16_224", "lr": 1e-3}


def test_an_optuna_study_that_anybody_made_is_read(workspace: Workspace) -> None:
    url = f"sqlite:///{workspace.root}/theirs.db"
    study = optuna.create_study(storage=url, study_name="theirs", direction="maximize")
    space = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1e-2),
        "freeze_depth": optuna.distributions.IntDistribution(0, 9),
    }
    for lr, depth in ((1e-3, 2), (2e-3, 9)):
        study.add_trial(
            optuna.create_trial(params={"lr": lr, "freeze_depth": depth}, distributions=space, value=0.5, intermediate_values={4: 0.4, 8: 0.5})
        )  # fmt: skip
    found = read(make(search={"warm_start": [{"study": url, "name": "theirs"}]}), workspace)
    assert [trial.params for trial in found.matching.trials] == [{"lr": 1e-3, "freeze_depth": 2}]
    assert found.matching.trials[0].reports == ((0.5, 0.4), (1.0, 0.5))
    assert (found.weight, found.why) == (0.25, "unknown images, same backbone")
    with pytest.raises(
        InputError, match=r"^A warm start of `val_loss` needs a study that does minimise it, but `theirs` does not\.$"
    ):
        read(make(search={"objective": "val_loss", "warm_start": [{"study": url, "name": "theirs"}]}), workspace)
    with pytest.raises(InputError, match=f"^{re.escape(f'`{url}` must have the study `ours`, but it has `theirs`.')}$"):
        read(make(search={"warm_start": [{"study": url, "name": "ours"}]}), workspace)


def test_an_mlflow_experiment_is_read(workspace: Workspace) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{workspace.root}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("fungi")
    for lr, metric in (("0.001", "top1"), ("0.002", "loss")):
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "train.lr", lr)
        client.log_param(run, "freeze_depth", "2")
        client.log_param(run, "train.epochs", "4")
        for step in (2, 4):
            client.log_metric(run, metric, 0.1 * step, step=step)
    found = read(make(search={"warm_start": [{"mlflow": uri, "experiment": "fungi"}]}), workspace)
    assert [trial.params for trial in found.matching.trials] == [{"lr": 1e-3, "freeze_depth": 2}]
    assert found.matching.trials[0].reports == ((0.5, 0.2), (1.0, 0.4))


def test_a_warm_start_that_gives_nothing_is_refused(workspace: Workspace) -> None:
    elsewhere = make(space={"lr": {"log": [0.1, 1.0]}}, search={"warm_start": [{"sweep": "old"}]})
    message = (
        "A warm start needs earlier trials that are points of this space, but of the 3 of `old` none is "
        "(3 have no value for `lr`); leave it out, or widen the ranges."
    )
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        read(elsewhere, workspace)
    with pytest.raises(SweepFolderError, match="There is no sweep `odl`"):
        read(make(search={"warm_start": [{"sweep": "odl"}]}), workspace)


def test_a_resumed_sweep_has_the_rows_it_began_with(workspace: Workspace) -> None:
    spec = make(search={"warm_start": [{"sweep": "old"}]})
    paths = SweepPaths(workspace.root / "new")
    advice = SweepAdvice(earlier=earlier_searches(spec, workspace, DIGITS), first_points=({"lr": 1e-3},))
    write_advice(paths, advice)
    (workspace.root / "old" / "study.db").unlink()
    assert read_advice(paths) == advice
    (sweep,) = read_advice(paths).for_search(spec).earlier
    assert [trial.reports for trial in sweep.trials] == [((0.5, 0.3), (1.0, 0.6))] * 2
    assert read_advice(SweepPaths(workspace.root / "older than advice")) == SweepAdvice()

"""A model in MLflow's registry: a version with signature, example, names and card, the champion of its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import pytest

from sweeper.paths import Workspace
from sweeper.records import TrialState
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking import SweepInfo, capture_environment, choose_uri, open_tracker
from sweeper.tracking.client import open_client
from sweeper.tracking.registry import Promotion, promote
from tests.unit.tracking.conftest import CONFIG, make_record


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With the runs of a sweep of three trials, of which 1 has the best top-1 and 2 the most epochs."""
    workspace = Workspace(tmp_path / "sweeps")
    tracker = open_tracker(TrackingSpec(), workspace)
    tracker.begin(
        SweepInfo(
            name="fungi", sweep_id="0a", objective="val_loss", resolved_spec="name: fungi\n",
            environment=capture_environment(), data_fingerprint="d", split_fingerprint="s",
        )
    )  # fmt: skip
    for number, epochs in enumerate((1, 4, 2)):
        tracker.update(make_record(number, TrialState.COMPLETE, epochs=epochs), CONFIG)
    assert tracker.close(finished=True, timeout=60).trials == 0
    return workspace


def test_sorting_the_children_by_the_best_value_finds_the_winner(workspace: Workspace) -> None:
    client = open_client(choose_uri(TrackingSpec(), workspace))
    experiment = client.get_experiment_by_name("fungi")
    assert experiment is not None
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`mlflow.parentRunId` != ''", order_by=["metrics.best_val_loss ASC"]
    )
    assert [run.info.run_name for run in runs] == [f"trial-00{number} davit_tiny lr=2.1e-04" for number in (1, 2, 0)]


def test_a_promoted_model_is_the_champion_and_a_later_one_takes_its_place(workspace: Workspace, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "config.json").write_text("{}")
    uri = choose_uri(TrackingSpec(), workspace)
    promotion = Promotion(
        name="mushrooms", folder=exported, card="# davit_tiny, fine-tuned", classes=("amanita", "boletus"),
        sweep_id="0a", trial=1, experiment="fungi", loader="tests.unit.tracking.opened", column="image", example="AAAA",
        top_k=5, requirement="sweeper==0.1.0",
    )  # fmt: skip
    first = promote(uri, promotion, artifacts=workspace.mlflow_artifacts)
    second = promote(uri, replace(promotion, trial=2), artifacts=workspace.mlflow_artifacts)
    assert (first.version, second.version, second.uri) == (1, 2, "models:/mushrooms@champion")
    client = open_client(uri)
    champion = client.get_model_version_by_alias("mushrooms", "champion")
    assert (int(champion.version), champion.description) == (2, "# davit_tiny, fine-tuned")
    assert client.get_run(champion.run_id).data.tags["sweeper.trial"] == "2"  # the sweep's own run, not another

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model(second.uri)
    assert model.metadata.metadata == {"classes": ["amanita", "boletus"]}
    assert model.metadata.signature is not None
    assert model.metadata.signature.inputs.input_names() == ["image"]
    assert model.predict(model.input_example) == [{"label": "config.json", "probability": 1.0, "guesses": []}]

"""Studies of others become sweeps."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest

from sweeper.driver.importing import Foreign, import_sweep
from sweeper.errors import InputError
from sweeper.folder import read_spec
from sweeper.paths import Workspace
from sweeper.results import rank_for
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec


@pytest.fixture
def source(tmp_path: Path) -> Foreign:
    """A study of three trials over four steps each; the last one's learning rate is outside of the space."""
    url = f"sqlite:///{tmp_path}/theirs.db"
    study = optuna.create_study(storage=url, study_name="theirs", direction="maximize")
    for lr, value in ((1e-3, 0.8), (2e-3, 0.9), (0.5, 0.1)):
        trial = study.ask()
        trial.suggest_float("learning_rate", lr, lr)
        for step in (1, 2, 3, 4):
            trial.report(value * step / 4, step)
        study.tell(trial, value)
    return Foreign(url, "theirs", is_mlflow=False)


@pytest.fixture
def spec() -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "imported",
            "data": {"source": "digits"},
            "backbone": "test_efficientnet",
            "train": {"epochs": 8},
            "space": {"lr": {"log": [1e-4, 1e-2]}},
        }
    )


def test_a_study_becomes_a_sweep_that_can_be_ranked(source: Foreign, spec: SweepSpec, tmp_path: Path) -> None:
    paths, matching = import_sweep(spec, source, Workspace(tmp_path / "sweeps"), renamed={"learning_rate": "lr"})
    assert (len(matching.trials), matching.skipped) == (2, {"lr": 1})
    made = read_spec(paths)
    board = rank_for(open_ledger(made, storage_url(made, paths), create=False).records(), made.search)
    assert [(row.params["lr"], row.best.top1, row.best.epoch) for row in board.rows] == [(2e-3, 0.9, 8), (1e-3, 0.8, 8)]
    assert [row.epochs for row in board.rows] == [4, 4]


def test_a_study_whose_parameters_have_other_names_is_refused(source: Foreign, spec: SweepSpec, tmp_path: Path) -> None:
    message = (
        "An import needs trials that are points of the space, but `theirs` has none (3 have no value for `lr`); rename "
        "its parameters with `--map theirs=ours`, or widen the ranges."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        import_sweep(spec, source, Workspace(tmp_path / "sweeps"), renamed={})
    assert not (tmp_path / "sweeps" / "imported" / "resolved.yaml").exists()

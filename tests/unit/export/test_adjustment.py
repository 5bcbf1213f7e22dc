"""A trial that was ranked with post-hoc logit adjustment answers with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from sweeper.backbones import read_saved_model
from sweeper.export import ExportRequest, Model, export_model, load_model
from sweeper.paths import CachePaths, TrialPaths
from tests.unit.export.conftest import trained


@pytest.fixture
def ranked(digits: Path, cache: CachePaths, tmp_path: Path) -> Path:
    """A trial whose tau is 1 and of whose training images most are of the last class, so its file says."""
    folder = tmp_path / "trial"
    trained(
        folder, cache, backbone="test_efficientnet", objective="balanced_accuracy_adjusted",
        data={"source": "folder", "root": digits, "image_size": 32}, train={"epochs": 1, "batch_size": 12},
    )  # fmt: skip
    path = TrialPaths(folder).best
    header = read_saved_model(folder).header | {"tau": "1.0", "class_shares": json.dumps([0.1, 0.1, 0.1, 0.7])}
    save_file(load_file(path), path, metadata=header)
    return folder


def probabilities(model: Model, digits: Path) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    (answer,) = model.predict([digits / "val" / "digit 2" / "16.png"])
    return answer.probabilities


def test_rare_classes_are_likelier_by_their_shares(ranked: Path, digits: Path) -> None:
    adjusted = load_model(ranked, device="cpu")
    plain = Model(adjusted.info.model_copy(update={"adjustment": None}), adjusted.network)
    expected = probabilities(plain, digits) / np.array([0.1, 0.1, 0.1, 0.7])
    assert probabilities(adjusted, digits) == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_an_export_answers_the_same(ranked: Path, digits: Path, cache: CachePaths, tmp_path: Path) -> None:
    export_model(ranked, tmp_path / "model", ExportRequest(device="cpu", cache=cache))
    exported, trial = (load_model(folder, device="cpu").uncalibrated() for folder in (tmp_path / "model", ranked))
    assert exported.info.adjustment == pytest.approx(trial.info.adjustment)
    assert probabilities(exported, digits) == pytest.approx(probabilities(trial, digits), rel=1e-4)


def test_a_trial_ranked_otherwise_answers_with_its_logits(trial: tuple[Path, object]) -> None:
    assert load_model(trial[0], device="cpu").info.adjustment is None

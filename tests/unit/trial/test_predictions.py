"""What the best epoch said is kept beside its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sweeper.data import read_manifest
from sweeper.paths import TrialPaths
from sweeper.predictions import Predictions, read_predictions
from sweeper.records import EpochMetrics
from sweeper.spec.data import FolderData
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.evaluate import _Kept
from sweeper.trial.phases import stored_data
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]


def best_of(config: TrialConfig, root: Path, runtime: Runtime) -> tuple[EpochMetrics, Predictions]:
    history = list(run_trial(config, TrialPaths(root), runtime=runtime))
    said = read_predictions(TrialPaths(root).predictions)
    assert said is not None
    return max(history, key=lambda epoch: epoch.top1), said


def cross_entropy(said: Predictions) -> float:
    return nn.functional.cross_entropy(
        torch.from_numpy(said.logits.astype(np.float32)), torch.from_numpy(said.labels)
    ).item()


@pytest.mark.parametrize(
    "changed", [{}, {"eval": EvalSpec(tta="flip")}, {"train": {"cache_features": 2, "freeze_depth": 1}}]
)
def test_they_give_the_metrics_of_the_best_epoch_again(
    changed: dict[str, object], make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    best, said = best_of(make_config(**changed), tmp_path, runtime)
    assert said.info.epoch == best.epoch
    assert said.info.tau == best.tau
    assert (said.guesses == said.labels).mean() == best.top1
    assert cross_entropy(said) == pytest.approx(best.val_loss, abs=2e-4)


@pytest.mark.parametrize("stream", [False, True])
def test_each_row_names_its_image_in_the_manifest(
    stream: bool, make_config: MakeConfig, few_digits: Path, runtime: Runtime, tmp_path: Path
) -> None:
    data = FolderData(source="folder", root=few_digits, image_size=32, store_size=32, stream=stream)
    config = make_config(data=data, train={"epochs": 1})
    _, said = best_of(config, tmp_path, runtime)
    manifest, _ = read_manifest(stored_data(config))
    of = [manifest.samples[number] for number in said.numbers.tolist()]
    assert {sample.split for sample in of} == {"val"}
    assert [sample.label for sample in of] == said.labels.tolist()
    assert len({sample.key for sample in of}) == 40
    assert said.info.split_fingerprint == manifest.split_fingerprint


def test_too_many_logits_are_not_kept(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.trial.said._MOST_LOGITS", 40 * 4 - 1)
    list(run_trial(make_config(train={"epochs": 1}), TrialPaths(tmp_path), runtime=runtime))
    assert TrialPaths(tmp_path).best.exists()
    assert read_predictions(TrialPaths(tmp_path).predictions) is None


def test_the_largest_logit_of_a_row_is_kept_exactly_and_the_others_near_it_too() -> None:
    kept = _Kept()
    kept.add(torch.tensor([[80.0, 80.0001, -1e9]]))
    kept.add(torch.tensor([[1.0, 0.0, 3.0]]))
    logits = kept.logits()
    assert logits.argmax(axis=1).tolist() == [1, 2]
    assert np.isfinite(logits).all()

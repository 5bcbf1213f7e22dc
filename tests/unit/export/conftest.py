from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from sklearn.datasets import load_digits

from sweeper.export import ExportReport, ExportRequest, export_model
from sweeper.paths import CachePaths, TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Handwritten digits of 4 classes as an image folder: 60 for training, 40 for validation."""
    root = tmp_path_factory.mktemp("digits")
    data = load_digits()
    for label in range(4):
        drawn = data.images[data.target == label][:25]
        for number, pixels in enumerate(drawn):
            folder = root / ("train" if number < 15 else "val") / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            image = cv2.resize((pixels * 15).astype("uint8"), (56, 40), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / f"{number}.png"), image)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CachePaths:
    return CachePaths(tmp_path_factory.mktemp("cache"))


def trained(folder: Path, cache: CachePaths, **settings: object) -> EpochMetrics:
    """Trains a trial in `folder` and returns the metrics of its best epoch."""
    config = TrialConfig.model_validate({"weights": "random", **settings})
    runtime = Runtime(device="cpu", threads=1, cache=cache)
    return max(run_trial(config, TrialPaths(folder), runtime=runtime), key=lambda metrics: metrics.top1)


@pytest.fixture(scope="session")
def trial(digits: Path, cache: CachePaths, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EpochMetrics]:
    """The folder of a trial of a sweep, and how well its weights do."""
    folder = tmp_path_factory.mktemp("sweeps") / "digits" / "trials" / "0003"
    metrics = trained(
        folder,
        cache,
        backbone="test_efficientnet",
        data={"source": "folder", "root": digits, "image_size": 32},
        train={"epochs": 6, "batch_size": 12, "lr": 5e-3, "warmup_epochs": 0.5},
        augment={"hflip": 0.0, "min_scale": 0.8},
    )
    return folder, metrics


@pytest.fixture(scope="session")
def exported(
    trial: tuple[Path, EpochMetrics], cache: CachePaths, tmp_path_factory: pytest.TempPathFactory
) -> ExportReport:
    """That trial in all formats."""
    to = tmp_path_factory.mktemp("exported") / "model"
    return export_model(trial[0], to, ExportRequest(torch=True, onnx=True, int8=True, device="cpu", cache=cache))

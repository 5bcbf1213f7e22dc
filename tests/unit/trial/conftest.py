from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from sklearn.datasets import load_digits

from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData
from sweeper.spec.training import AugmentSpec, TrainSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 handwritten digits of 4 classes, the same ones for training and for validation."""
    root = tmp_path_factory.mktemp("few digits")
    digits = load_digits()
    for label in range(4):
        drawn = digits.images[digits.target == label][:10]
        for split in ("train", "val"):
            folder = root / split / f"digit {label}"
            folder.mkdir(parents=True)
            for number, pixels in enumerate(drawn):
                image = cv2.resize((pixels * 15).astype("uint8"), (32, 32), interpolation=cv2.INTER_CUBIC)
                cv2.imwrite(str(folder / f"{number}.png"), image)
    return root


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(cache=CachePaths(tmp_path_factory.mktemp("cache")), device="cpu", threads=1)


@pytest.fixture(autouse=True)
def same_number_of_threads() -> Iterator[None]:
    """A trial sets the number of torch's threads for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_config(few_digits: Path) -> MakeConfig:
    """Makes a trial on `few_digits`; `train` and `augment` hold what differs from a short plain one."""

    def make(*, train: dict[str, Any] | None = None, augment: dict[str, Any] | None = None, **top: Any) -> TrialConfig:
        plain: dict[str, Any] = {"epochs": 4, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1.0}
        return TrialConfig(
            **{
                "backbone": "test_efficientnet",
                "weights": "random",
                "data": FolderData(source="folder", root=few_digits, image_size=32, store_size=32),
                "train": TrainSpec(**plain | (train or {})),
                "augment": AugmentSpec(**{"hflip": 0.0, "min_scale": 1.0} | (augment or {})),
                **top,
            }
        )

    return make

"""No trial sees the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.data import ImageSplit, prepare_images
from sweeper.data.manifest import Pixels
from sweeper.paths import TrialPaths
from sweeper.spec.split import SplitSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.phases import stored_data
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime


def test_a_trial_opens_every_image_but_those_held_out_for_the_test(
    make_config: Callable[..., TrialConfig], runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_config(train={"epochs": 2, "probe": {"epochs": 1}, "warmup_epochs": 0.0})
    split = SplitSpec(by="stratified", val=0.2, test=0.2)
    config = plain.model_copy(update={"data": plain.data.model_copy(update={"split": split})})
    opened: set[str] = set()
    untouched = ImageSplit.image

    def image(self: ImageSplit, index: int) -> Pixels:
        opened.add(self.keys[index])
        return untouched(self, index)

    monkeypatch.setattr(ImageSplit, "image", image)
    history: list[Any] = list(run_trial(config, TrialPaths(tmp_path), runtime=runtime))
    assert len(history) == 2
    images = prepare_images(stored_data(config), runtime.cache)
    held_out = set(images.split("test").keys)
    assert len(held_out) == 16
    assert opened == set(images.images.keys) - held_out

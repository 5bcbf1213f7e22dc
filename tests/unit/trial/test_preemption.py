"""A machine that is about to go: the trial saves where it is, and goes on elsewhere from the very step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sweeper.errors import PreemptedError
from sweeper.paths import TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]
CLOCK = {"train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb", "latency_ms"}

EVERYTHING: dict[str, Any] = {
    "backbone": "test_vit",
    "train": {"epochs": 3, "accumulate": 2, "ema_decay": 0.9, "drop_path": 0.3, "clip_grad": 0.5},
    "augment": {"mixup": 0.4, "cutmix": 1.0, "policy": "trivial", "erase": 0.3, "min_scale": 0.5},
}
PHASES: dict[str, Any] = {"train": {"epochs": 3, "probe": {"epochs": 1}, "fixres": {"epochs": 1, "image_size": 64}}}
FEATURES: dict[str, Any] = {"train": {"epochs": 3, "freeze_depth": 3, "cache_features": 2, "drop_path": 0.3}}


class Notice(threading.Event):
    """Comes when it has been looked at so many times: a look is a step, or a batch of an evaluation."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0


def run_preempted(config: TrialConfig, paths: TrialPaths, runtime: Runtime, *, every: int) -> tuple[Any, list[str]]:
    """Runs a trial whose machines all go after `every` looks; returns its epochs and what was said each time."""
    said: list[str] = []
    while len(said) < 20:
        machine = replace(runtime, attempt=len(said) + 1, leave=Notice(every))
        try:
            return list(run_trial(config, paths, runtime=machine)), said
        except PreemptedError as error:
            said.append(str(error))
    pytest.fail(str(said))


def without_clock(history: list[EpochMetrics]) -> list[dict[str, Any]]:
    return [metrics.model_dump(exclude=CLOCK) for metrics in history]


@pytest.mark.parametrize("changes", [EVERYTHING, PHASES, FEATURES], ids=["everything on", "phases", "kept features"])
def test_a_trial_that_is_preempted_every_few_steps_equals_an_undisturbed_one(
    changes: dict[str, Any], make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(**changes)
    undisturbed, preempted = TrialPaths(tmp_path / "undisturbed"), TrialPaths(tmp_path / "preempted")
    whole = list(run_trial(config, undisturbed, runtime=runtime))
    history, said = run_preempted(config, preempted, runtime, every=6)
    assert len(said) >= 3
    assert without_clock(history) == without_clock(whole)
    one, other = (torch.load(paths.checkpoint, weights_only=True) for paths in (undisturbed, preempted))
    assert one["step"] == other["step"]
    for part in ("model", "average"):
        assert all(torch.equal(tensor, other[part][name]) for name, tensor in one[part].items())
    for number, state in one["optimizer"]["state"].items():
        assert all(torch.equal(value, other["optimizer"]["state"][number][name]) for name, value in state.items())
    best = load_file(preempted.best)
    assert all(torch.equal(tensor, best[name]) for name, tensor in load_file(undisturbed.best).items())


def test_a_trial_says_where_it_goes_on_and_leaves_at_the_next_step_or_within_its_evaluation(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(train={"epochs": 2})  # an epoch is 5 steps and 5 batches of evaluation
    for looks, where in ((0, "step 0 of epoch 1"), (3, "step 3 of epoch 1"), (5, "step 5 of epoch 1")):
        trial = run_trial(config, TrialPaths(tmp_path), runtime=replace(runtime, leave=Notice(looks)))
        with pytest.raises(PreemptedError, match=rf"^The trial goes on from {where}\.$"):
            next(trial)
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["history"] == []

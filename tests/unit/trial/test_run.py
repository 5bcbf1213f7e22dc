from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.models import EfficientNet
from torch import nn

from sweeper.errors import CheckpointError, SpecError, TrialError
from sweeper.paths import TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

MakeConfig = Callable[..., TrialConfig]

EVERYTHING = {
    "train": {"accumulate": 2, "ema_decay": 0.9, "drop_path": 0.2, "label_smoothing": 0.1, "clip_grad": 0.5},
    "augment": {"mixup": 0.4, "cutmix": 1.0, "policy": "trivial", "erase": 0.3, "min_scale": 0.5},
}


def run(config: TrialConfig, root: Path, runtime: Runtime) -> list[EpochMetrics]:
    return list(run_trial(config, TrialPaths(root), runtime=runtime))


def without_clock(metrics: EpochMetrics) -> dict[str, float]:
    measured = {"train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb", "latency_ms"}
    return metrics.model_dump(exclude=measured)


def assert_same_trial(one: Path, other: Path) -> None:
    """Compares all that the last checkpoints hold, and the kept weights, bit for bit."""
    first, second = (torch.load(root / "last.ckpt", weights_only=True) for root in (one, other))
    for part in ("model", "average"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(tensor, second[part][name]) for name, tensor in first[part].items())
    for number, state in first["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, second["optimizer"]["state"][number][name])
    assert first["step"] == second["step"]
    best_one, best_other = (load_file(root / "best.safetensors") for root in (one, other))
    assert all(torch.equal(tensor, best_other[name]) for name, tensor in best_one.items())


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_a_trial_learns_a_few_images_by_heart(
    backbone: str, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone=backbone, train={"epochs": 25, "lr": 4e-3, "weight_decay": 0.0})
    history = run(config, tmp_path, runtime)
    assert [metrics.epoch for metrics in history] == list(range(1, 26))
    assert max(metrics.top1 for metrics in history) >= 0.95
    assert history[-1].train_loss < 0.3 < history[0].train_loss
    assert history[-1].lr == pytest.approx(1e-6)


def test_two_runs_with_one_seed_are_equal_and_with_another_are_not(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(**EVERYTHING)
    first, second = run(config, tmp_path / "a", runtime), run(config, tmp_path / "b", runtime)
    assert [without_clock(metrics) for metrics in first] == [without_clock(metrics) for metrics in second]
    assert_same_trial(tmp_path / "a", tmp_path / "b")
    reseeded = run(make_config(**EVERYTHING, seed=1), tmp_path / "c", runtime)
    assert reseeded[-1].train_loss != first[-1].train_loss


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything on"])
@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_stop_and_resume_equal_an_uninterrupted_run(
    backbone: str, changes: dict[str, dict[str, float]], make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone=backbone, **changes)
    whole = run(config, tmp_path / "whole", runtime)
    stopped = run_trial(config, TrialPaths(tmp_path / "stopped"), runtime=runtime)
    assert [next(stopped).epoch, next(stopped).epoch] == [1, 2]
    stopped.close()
    resumed = run(config, tmp_path / "stopped", runtime)
    assert [without_clock(metrics) for metrics in resumed] == [without_clock(metrics) for metrics in whole]
    assert_same_trial(tmp_path / "whole", tmp_path / "stopped")


def test_a_trial_that_died_within_an_epoch_repeats_only_that_epoch(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(**EVERYTHING)
    run(config, tmp_path / "whole", runtime)

    with forward_passes(die_at=2 * (5 + 5) + 3):  # an epoch trains and evaluates 5 batches
        died = run_trial(config, TrialPaths(tmp_path / "died"), runtime=runtime)
        assert [next(died).epoch, next(died).epoch] == [1, 2]
        with pytest.raises(KeyboardInterrupt) as death:
            next(died)
    assert death.tb is not None  # holds the frames of the trial: the threads must end without their help
    assert batch_threads() == []

    with forward_passes() as passes:
        run(config, tmp_path / "died", runtime)
    assert len(passes) == 2 * (5 + 5)
    assert_same_trial(tmp_path / "whole", tmp_path / "died")


def test_a_finished_trial_tells_its_epochs_again_and_trains_nothing(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(train={"epochs": 2})
    first = run(config, tmp_path, runtime)
    before = (tmp_path / "last.ckpt").stat().st_mtime_ns
    assert run(config, tmp_path, runtime) == first
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == before


def test_an_epoch_is_safe_on_disk_before_it_is_told(make_config: MakeConfig, runtime: Runtime, tmp_path: Path) -> None:
    paths = TrialPaths(tmp_path)
    for metrics in run_trial(make_config(train={"epochs": 2}), paths, runtime=runtime):
        saved = torch.load(paths.checkpoint, weights_only=True)
        assert [epoch["epoch"] for epoch in saved["history"]] == list(range(1, metrics.epoch + 1))
        assert paths.best.exists()


def test_the_weights_of_the_first_among_equally_good_epochs_are_kept(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    paths, top1, weights = TrialPaths(tmp_path), [], []
    for metrics in run_trial(make_config(train={"epochs": 16, "lr": 4e-3}), paths, runtime=runtime):
        top1.append(metrics.top1)
        weights.append(torch.load(paths.checkpoint, weights_only=True)["model"])
    best = top1.index(max(top1))
    assert 0 < best < 15
    kept = load_file(paths.best)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights[best].items())


def test_a_loss_is_an_objective_that_is_best_when_low(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    # Without a warm-up the first steps of this rate spoil the model, later ones mend it.
    config = make_config(objective="val_loss", train={"epochs": 3, "lr": 0.05, "warmup_epochs": 0.0})
    paths, losses, weights = TrialPaths(tmp_path), [], []
    for metrics in run_trial(config, paths, runtime=runtime):
        losses.append(metrics.val_loss)
        weights.append(torch.load(paths.checkpoint, weights_only=True)["model"])
    kept = load_file(paths.best)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights[losses.index(min(losses))].items())
    assert losses[0] > min(losses)


def test_the_averaged_weights_are_the_ones_evaluated_and_kept(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    run(make_config(train={"epochs": 1, "ema_decay": 0.99}), tmp_path, runtime)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    kept = load_file(tmp_path / "best.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in saved["average"].items())
    assert any(not torch.equal(tensor, kept[name]) for name, tensor in saved["model"].items())


def test_the_settings_are_written_beside_the_trial(make_config: MakeConfig, runtime: Runtime, tmp_path: Path) -> None:
    config = make_config(train={"epochs": 1})
    run(config, tmp_path, runtime)
    assert TrialConfig.model_validate_json((tmp_path / "config.json").read_text()) == config


def test_a_checkpoint_of_other_settings_stops_the_trial_and_stays(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config, other = make_config(train={"epochs": 1}), make_config(train={"epochs": 2})
    run(config, tmp_path, runtime)
    message = (
        f"A trial goes on only with the settings it began with, but `{tmp_path / 'last.ckpt'}` is of settings "
        f"`{config.hash}` and not of `{other.hash}`; delete it to start anew."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        run(other, tmp_path, runtime)
    assert TrialConfig.model_validate_json((tmp_path / "config.json").read_text()) == config


def test_an_absurd_learning_rate_fails_with_the_epoch_and_the_loss(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone="test_vit", train={"lr": 1e12, "clip_grad": None})
    message = (
        r"^The (training|validation) loss must be finite, but was `(nan|inf)` (in|after) epoch \d(, step \d)?; "
        r"lower `lr`, or clip the gradient with `clip_grad`\.$"
    )
    with pytest.raises(TrialError, match=message):
        run(config, tmp_path, runtime)


def test_an_unknown_optimizer_is_refused_with_the_nearest_names(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"^An optimizer must be one that timm knows, but is `adamv`; did you mean"):
        run(make_config(train={"optimizer": "adamv"}), tmp_path, runtime)


def test_closing_a_trial_frees_its_threads_and_its_model_though_its_log_is_kept(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sweeper")
    models = weakref.WeakSet[nn.Module]()
    hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: models.add(module))
    trial = run_trial(make_config(), TrialPaths(tmp_path), runtime=runtime)
    try:
        next(trial)
    finally:
        hook.remove()
    assert len(models) > 0
    trial.close()
    assert len(caplog.records) > 0
    assert batch_threads() == []
    assert len(models) == 0


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_reach_the_model_in_the_layout_that_is_asked_for(
    channels_last: bool, make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    with forward_passes() as passes:
        run(make_config(train={"epochs": 1, "channels_last": channels_last}), tmp_path, runtime)
    assert {layout for _, layout in passes} == {"channels last" if channels_last else "contiguous"}


def batch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


@contextmanager
def forward_passes(*, die_at: int | None = None) -> Iterator[list[tuple[int, str]]]:
    """Lists size and layout of the batches that go through the model; pass number `die_at` is interrupted."""
    passes: list[tuple[int, str]] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        # One image in eval mode is what latency is measured with.
        if isinstance(module, EfficientNet) and (module.training or len(inputs[0]) > 1):
            passes.append((len(inputs[0]), "contiguous" if inputs[0].is_contiguous() else "channels last"))
            if len(passes) == die_at:
                raise KeyboardInterrupt

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield passes
    finally:
        hook.remove()

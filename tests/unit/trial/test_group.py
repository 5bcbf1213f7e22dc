"""Several processes that train one trial: the numbers of one process, and one fate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from sweeper.data import open_images
from sweeper.errors import PreemptedError, SpecError, TrialError
from sweeper.paths import TrialPaths
from sweeper.predictions import read_predictions
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.group import Group
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from sweeper.trial.setup import check_group
from tests.unit.trial.test_preemption import Notice, without_clock

pytestmark = pytest.mark.slow

MakeConfig = Callable[..., TrialConfig]
Begun = tuple[TrialConfig, subprocess.Popen[str], psutil.Process]

# Plain gradient descent: the first steps of Adam make a large number of the last digit of a gradient that is nearly 0.
PLAIN: dict[str, Any] = {"backbone": "test_vit", "train": {"epochs": 2, "optimizer": "sgd", "lr": 0.02}}


def epochs(config: TrialConfig, folder: Path, runtime: Runtime, *, processes: int) -> list[EpochMetrics]:
    return list(run_trial(config, TrialPaths(folder), runtime=replace(runtime, processes=processes)))


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


def test_three_processes_train_and_judge_what_one_does(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(**PLAIN)  # batches of 8, which three cannot divide evenly
    alone = epochs(config, tmp_path / "alone", runtime, processes=1)
    together = epochs(config, tmp_path / "together", runtime, processes=3)
    for one, other in zip(alone, together, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-5)
        assert other.val_loss == pytest.approx(one.val_loss, rel=1e-4)
        assert other.top1 == one.top1
    weights = load_file(TrialPaths(tmp_path / "together").best)
    for name, tensor in load_file(TrialPaths(tmp_path / "alone").best).items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-5)
    said, again = (read_predictions(TrialPaths(tmp_path / name).predictions) for name in ("alone", "together"))
    assert said is not None
    assert again is not None
    assert said.numbers.tolist() == again.numbers.tolist()
    assert abs(said.logits.astype(float) - again.logits).max() < 0.01


def test_a_trial_that_one_process_began_is_ended_by_two(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(**PLAIN)
    begun = run_trial(config, TrialPaths(tmp_path), runtime=runtime)
    first = next(begun)
    begun.close()
    assert [one.epoch for one in epochs(config, tmp_path, runtime, processes=2)] == [1, 2]
    assert epochs(config, tmp_path, runtime, processes=1)[0] == first


def test_a_notice_to_one_process_ends_all_at_one_step_and_nothing_is_lost(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(
        backbone="test_vit", train={"epochs": 2, "drop_path": 0.3, "ema_decay": 0.9}, augment={"mixup": 0.4}
    )
    whole = epochs(config, tmp_path / "whole", runtime, processes=2)
    paths = TrialPaths(tmp_path / "left")
    leaving = run_trial(config, paths, runtime=replace(runtime, processes=2, leave=Notice(2)))
    with pytest.raises(PreemptedError, match="step 2 of epoch 1"):
        next(leaving)
    later = replace(runtime, processes=2, attempt=2)
    assert without_clock(list(run_trial(config, paths, runtime=later))) == without_clock(whole)
    best = load_file(paths.best)
    assert all(torch.equal(best[name], one) for name, one in load_file(TrialPaths(tmp_path / "whole").best).items())


def test_a_process_that_gets_no_image_of_a_batch_goes_on(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path
) -> None:
    config = make_config(backbone="test_vit", train={"epochs": 1}, eval={"tta": "ten_crop"})  # one image a batch
    (found,) = epochs(config, tmp_path, runtime, processes=2)
    said = read_predictions(TrialPaths(tmp_path).predictions)
    assert said is not None
    assert said.numbers.tolist() == list(range(40, 80))
    assert 0 <= found.top1 <= 1


def test_a_loss_that_is_not_finite_ends_all_of_them(make_config: MakeConfig, runtime: Runtime, tmp_path: Path) -> None:
    config = make_config(backbone="test_vit", train={"optimizer": "sgd", "lr": 1e30, "warmup_epochs": 0.0})
    with pytest.raises(TrialError, match="must be finite"):
        epochs(config, tmp_path, runtime, processes=2)


def test_what_cannot_be_divided_is_refused(make_config: MakeConfig, runtime: Runtime) -> None:
    config = make_config(train={"batch_size": 1})
    images = open_images(config.data, runtime.cache)
    with pytest.raises(SpecError, match=r"a batch of `1` images is too small for 2; raise `train.batch_size`"):
        check_group(config, images, size=2)
    check_group(config, images, size=1)
    streamed = make_config().data.model_copy(update={"stream": True})
    with pytest.raises(SpecError, match=r"set `data.stream: false`, or `resources.gpus_per_trial: 1` instead of `2`"):
        check_group(make_config(data=streamed), images, size=2)


KILLED = """\
import sys
from pathlib import Path
import logging
from sweeper.paths import CachePaths, TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
logging.basicConfig(filename=Path(sys.argv[2]) / "trial.log", level=logging.INFO)
config = TrialConfig.model_validate_json(sys.argv[1])
runtime = Runtime(device="cpu", processes=2, cache=CachePaths(Path(sys.argv[3])))
for metrics in run_trial(config, TrialPaths(Path(sys.argv[2])), runtime=runtime):
    print(metrics.epoch, flush=True)
"""


@pytest.fixture
def begun(make_config: MakeConfig, runtime: Runtime, tmp_path: Path) -> Begun:
    """A long trial of two processes that has told its first epoch: its settings, the one that leads, and the other."""
    config = make_config(backbone="test_vit", train={"epochs": 200})
    command = [sys.executable, "-c", KILLED, config.model_dump_json(), str(tmp_path), str(runtime.cache.root)]
    leading = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert leading.stdout is not None
    assert leading.stdout.readline() == "1\n"
    (peer,) = psutil.Process(leading.pid).children()
    return config, leading, peer


def test_a_killed_process_takes_the_others_with_it_and_the_trial_goes_on_from_its_checkpoint(
    begun: Begun, runtime: Runtime, tmp_path: Path
) -> None:
    config, leading, peer = begun
    assert leading.stdout is not None
    os.kill(peer.pid, signal.SIGTERM)  # as a machine that goes tells all its processes: for the leading one to act on
    assert leading.stdout.readline() == "2\n"
    os.kill(peer.pid, signal.SIGKILL)
    assert leading.wait(timeout=60) == 71
    assert "Process 1 of the trial has ended (-9)" in TrialPaths(tmp_path).log.read_text()
    going_on = run_trial(config, TrialPaths(tmp_path), runtime=replace(runtime, attempt=2))
    assert next(going_on).epoch == 1
    going_on.close()


def test_a_process_whose_leader_is_killed_ends(begun: Begun) -> None:
    _, leading, peer = begun
    leading.kill()
    leading.wait()
    assert psutil.wait_procs([peer], timeout=30)[1] == []


class OneIsShort(Group):
    """A group in which another process has run out of memory once."""

    def __init__(self) -> None:
        self.said: list[tuple[int, ...]] = []

    def totals(self, *numbers: int) -> tuple[int, ...]:
        self.said.append(numbers)
        return (1,) if len(self.said) == 3 else numbers  # that it leaves, its images, that it is short


def test_all_halve_their_passes_when_memory_runs_out_in_one(
    make_config: MakeConfig, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.trial.peers.ALONE", OneIsShort())
    first = next(run_trial(make_config(), TrialPaths(tmp_path), runtime=runtime))
    assert first.micro_batch == 4  # of 8

"""A trial learns from a finished one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.backbones import build_backbone, restore_weights
from sweeper.data import DeviceBatch
from sweeper.errors import SpecError
from sweeper.paths import TrialPaths
from sweeper.records import EpochMetrics
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import find_machine
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from sweeper.trial.teacher import check_teacher, open_teacher

MakeConfig = Callable[..., TrialConfig]
CLASSES = ("digit 0", "digit 1", "digit 2", "digit 3")


def run(config: TrialConfig, root: Path, runtime: Runtime) -> list[EpochMetrics]:
    return list(run_trial(config, TrialPaths(root), runtime=runtime))


@pytest.fixture(scope="module")
def teacher(few_digits: Path, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Path:
    """The folder of a trial whose statistics are not the student's, tuned by low rank and with a head of ours."""
    root = tmp_path_factory.mktemp("teacher")
    config = TrialConfig.model_validate(
        {
            "backbone": "tf_efficientnet_lite0",  # mean and std 0.5
            "data": {"source": "folder", "root": few_digits, "image_size": 32, "store_size": 32},
            "head": {"type": "gem"},
            "train": {"epochs": 2, "batch_size": 8, "tune": "lora", "lr": 3e-3},
        }
    )
    run(config, root, runtime)
    return root


@pytest.fixture
def student(make_config: MakeConfig, teacher: Path) -> Callable[..., TrialConfig]:
    def make(**train: Any) -> TrialConfig:
        return make_config(backbone="test_vit", train={"teacher": str(teacher), "epochs": 3} | train)

    return make


def normalised(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


@pytest.mark.parametrize("image_size", [32, 64])
def test_a_teacher_sees_the_students_images_in_its_own_statistics(
    image_size: int, student: Callable[..., TrialConfig], teacher: Path
) -> None:
    data = student().data.model_copy(update={"image_size": image_size})
    config = student().model_copy(update={"data": data})
    backbone = build_backbone(config, num_classes=4, weights=None)
    machine = find_machine("cpu", precision="fp32")
    opened = open_teacher(config, student=backbone, classes=CLASSES, machine=machine)
    assert opened is not None

    own = TrialConfig.model_validate_json((teacher / "config.json").read_bytes())
    alone = build_backbone(own.model_copy(update={"data": data}), num_classes=4, weights=None)
    restore_weights(alone, load_file(teacher / "best.safetensors"), source="the teacher")
    alone.eval()
    assert (alone.mean, backbone.mean) == ((0.5,) * 3, (0.5,) * 3) or alone.mean != backbone.mean
    pixels = torch.rand(2, 3, image_size, image_size)
    seen = DeviceBatch((normalised(pixels, backbone.mean, backbone.std),), torch.tensor([0, 1]))
    with torch.no_grad():
        expected = alone.model(normalised(pixels, alone.mean, alone.std))
    torch.testing.assert_close(opened(seen), expected, atol=1e-4, rtol=1e-4)


def test_scores_come_in_the_students_order_of_classes(student: Callable[..., TrialConfig]) -> None:
    backbone = build_backbone(student(), num_classes=4, weights=None)
    machine = find_machine("cpu", precision="fp32")
    batch = DeviceBatch((torch.rand(2, 3, 32, 32),), torch.tensor([0, 1]))
    there, back = (
        open_teacher(student(), student=backbone, classes=classes, machine=machine)
        for classes in (CLASSES, CLASSES[::-1])
    )
    assert there is not None
    assert back is not None
    assert torch.equal(there(batch).flip(1), back(batch))


def test_a_student_learns_from_its_teacher_whose_weights_stay(
    student: Callable[..., TrialConfig], make_config: MakeConfig, teacher: Path, runtime: Runtime, tmp_path: Path
) -> None:
    before = (teacher / "best.safetensors").read_bytes()
    alone = run(make_config(backbone="test_vit", train={"epochs": 3}), tmp_path / "alone", runtime)
    taught = run(student(teacher_weight=1.0), tmp_path / "taught", runtime)
    assert taught[-1].train_loss != pytest.approx(alone[-1].train_loss, rel=1e-3)
    assert taught[-1].train_loss < taught[0].train_loss
    assert (teacher / "best.safetensors").read_bytes() == before


def test_stop_and_resume_with_a_teacher_equal_an_uninterrupted_run(
    student: Callable[..., TrialConfig], runtime: Runtime, tmp_path: Path
) -> None:
    whole = run(student(), tmp_path / "whole", runtime)
    stopped = run_trial(student(), TrialPaths(tmp_path / "stopped"), runtime=runtime)
    next(stopped)
    stopped.close()
    resumed = run(student(), tmp_path / "stopped", runtime)
    assert [metrics.train_loss for metrics in resumed] == [metrics.train_loss for metrics in whole]


@pytest.fixture
def broken(teacher: Path, tmp_path: Path) -> Path:
    shutil.copytree(teacher, tmp_path / "copy")
    return tmp_path / "copy"


def refused(config: TrialConfig, folder: Path, classes: tuple[str, ...] = CLASSES) -> str:
    train = config.train.model_copy(update={"teacher": str(folder)})
    with pytest.raises(SpecError) as refusal:
        check_teacher(config.model_copy(update={"train": train}), classes=classes)
    return str(refusal.value)


def test_a_folder_without_a_finished_model_is_refused(student: Callable[..., TrialConfig], broken: Path) -> None:
    (broken / "best.safetensors").unlink()
    message = (
        "`train.teacher` must be the folder of a finished trial, of a sweep with one, or of an exported model, but "
        f"`{broken}` does not hold `config.json` and `best.safetensors` or `model.safetensors`."
    )
    assert refused(student(), broken) == message


def test_an_exported_model_is_as_good_as_a_trial(student: Callable[..., TrialConfig], broken: Path) -> None:
    (broken / "best.safetensors").rename(broken / "model.safetensors")
    train = student().train.model_copy(update={"teacher": str(broken)})
    check_teacher(student().model_copy(update={"train": train}), classes=CLASSES)


def test_weights_that_do_not_say_their_classes_are_refused(student: Callable[..., TrialConfig], broken: Path) -> None:
    weights = load_file(broken / "best.safetensors")
    save_file(weights, broken / "best.safetensors")
    assert re.fullmatch(
        r"`train.teacher` must be a readable model, but `.*copy` is not \('classes'\)\.", refused(student(), broken)
    )


def test_a_teacher_of_other_classes_is_refused(student: Callable[..., TrialConfig], teacher: Path) -> None:
    other = ("digit 0", "digit 1", "digit 2", "digit 3", "digit 4")
    assert refused(student(), teacher, other) == (
        f"A teacher must know the classes of the data, but `{teacher}` has 4 and the data 5; only the data has "
        "`digit 4`."
    )

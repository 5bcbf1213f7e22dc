"""A finished model that a trial learns from besides the labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from sweeper.backbones import Backbone, SavedModel, read_saved_model
from sweeper.data import DeviceBatch
from sweeper.errors import ModelError, SpecError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model in eval mode that gives logits for the batches of a student."""

    backbone: Backbone
    scale: Tensor
    """(1, 3, 1, 1): with `shift`, takes images normalised for the student to the teacher's statistics."""
    shift: Tensor
    """(1, 3, 1, 1)."""
    order: Tensor
    """(C,) int64: where each class of the student is among the teacher's."""

    @torch.no_grad()
    def __call__(self, batch: DeviceBatch) -> Tensor:
        """Returns logits (B, C) in the student's order of classes."""
        images, *metadata = batch.inputs
        images = torch.addcmul(self.shift, images, self.scale)
        logits: Tensor = self.backbone.model(images, *(metadata if self.backbone.takes_metadata else ()))
        return logits[:, self.order]


def check_teacher(config: TrialConfig, *, classes: tuple[str, ...]) -> None:
    """Refuses a `train.teacher` that no trial could learn from; reads headers only.

    Raises:
        SpecError: its folder holds no finished model, or one for other classes.
    """
    if config.train.teacher is not None:
        _require_classes(_read(Path(config.train.teacher)), classes)


def open_teacher(
    config: TrialConfig, *, student: Backbone, classes: tuple[str, ...], machine: Machine
) -> Teacher | None:
    """Opens the model that `train.teacher` names, for the student's image size; None where it names none.

    Args:
        config: the student's trial.
        student: whose batches the teacher will see.
        classes: of the student's data set.
        machine: where the teacher runs.

    Raises:
        SpecError: as `check_teacher`.
        BackboneError: the model cannot be built, or not for this image size.
    """
    if config.train.teacher is None:
        return None
    files = _read(Path(config.train.teacher))
    _require_classes(files, classes)
    changed = files.weights.stat().st_mtime_ns
    backbone = _load(files.folder, student.image_size, str(machine.device), changed)
    statistics = (student.mean, student.std, backbone.mean, backbone.std)
    mean, std, own_mean, own_std = (torch.tensor(one).view(1, 3, 1, 1) for one in statistics)
    return Teacher(
        backbone=backbone,
        scale=(std / own_std).to(machine.device),
        shift=((mean - own_mean) / own_std).to(machine.device),
        order=torch.tensor([files.classes.index(name) for name in classes], device=machine.device),
    )


@lru_cache(maxsize=1)
def _load(folder: Path, image_size: int, device: str, _changed: int) -> Backbone:
    """Keeps the teacher for the worker's next trial, which as a rule wants the same."""
    backbone = _read(folder).build(image_size=image_size)
    backbone.model.to(device).to(memory_format=torch.channels_last)
    return backbone


def _read(folder: Path) -> SavedModel:
    try:
        return read_saved_model(folder, called="`train.teacher`")
    except ModelError as error:
        raise SpecError(str(error)) from error


def _require_classes(files: SavedModel, classes: tuple[str, ...]) -> None:
    if set(files.classes) != set(classes):
        differ = sorted(set(files.classes) ^ set(classes))
        owner = "the teacher" if differ[0] in files.classes else "the data"
        raise SpecError(
            f"A teacher must know the classes of the data, but `{files.folder}` has {len(files.classes)} and "
            f"the data {len(classes)}; only {owner} has `{differ[0]}`."
        )

"""A finished model, or an ensemble of some, that a trial learns from besides the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sweeper.backbones import Backbone, SavedModel, read_saved_model
from sweeper.data import DeviceBatch
from sweeper.errors import ModelError, SpecError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine
from sweeper.trial.ensemble import EnsembleMember, read_ensemble


@dataclass(frozen=True, eq=False)
class Member:
    """A model in eval mode that gives logits for the batches of a student."""

    backbone: Backbone
    scale: Tensor
    """(1, 3, 1, 1): with `shift`, takes images normalised for the student to the model's statistics."""
    shift: Tensor
    """(1, 3, 1, 1)."""
    order: Tensor
    """(C,) int64: where each class of the student is among the model's."""
    weight: float = 1.0
    """Of its probabilities among those of all members."""
    temperature: float = 1.0
    """Its logits are divided by it where there are several members."""

    def logits(self, batch: DeviceBatch) -> Tensor:
        """Returns logits (B, C) in the student's order of classes."""
        images, *metadata = batch.inputs
        images = torch.addcmul(self.shift, images, self.scale)
        logits: Tensor = self.backbone.model(images, *(metadata if self.backbone.takes_metadata else ()))
        return logits[:, self.order]


@dataclass(frozen=True, eq=False)
class Teacher:
    """One model, or an ensemble whose calibrated probabilities are averaged."""

    members: tuple[Member, ...]

    @torch.no_grad()
    def __call__(self, batch: DeviceBatch) -> Tensor:
        """Returns logits (B, C) in the student's order of classes; of an ensemble the logarithms of its mean."""
        if len(self.members) == 1:
            return self.members[0].logits(batch)
        shares = [
            F.log_softmax(one.logits(batch).float() / one.temperature, dim=1) + math.log(one.weight)
            for one in self.members
        ]
        return torch.logsumexp(torch.stack(shares), dim=0)


def check_teacher(config: TrialConfig, *, classes: tuple[str, ...]) -> None:
    """Refuses a `train.teacher` that no trial could learn from; reads headers only.

    Raises:
        SpecError: its folder holds no finished model, or one for other classes.
    """
    if config.train.teacher is not None:
        for _, files in _members(Path(config.train.teacher)):
            _require_classes(files, classes)


def open_teacher(
    config: TrialConfig, *, student: Backbone, classes: tuple[str, ...], machine: Machine
) -> Teacher | None:
    """Opens what `train.teacher` names, for the student's image size; None where it names nothing.

    Args:
        config: the student's trial; its teacher is a finished model, or an ensemble of some.
        student: whose batches the teacher will see.
        classes: of the student's data set.
        machine: where the teacher runs.

    Raises:
        SpecError: as `check_teacher`.
        BackboneError: a model cannot be built, or not for this image size.
    """
    if config.train.teacher is None:
        return None
    named = _members(Path(config.train.teacher))
    for _, files in named:
        _require_classes(files, classes)
    changed = tuple(files.weights.stat().st_mtime_ns for _, files in named)
    folders = tuple(files.folder for _, files in named)
    backbones = _load(folders, student.image_size, str(machine.device), changed)
    return Teacher(
        tuple(
            _member(about, files, backbone, student=student, classes=classes)
            for (about, files), backbone in zip(named, backbones, strict=True)
        )
    )


def _member(
    about: EnsembleMember | None, files: SavedModel, backbone: Backbone, *, student: Backbone, classes: tuple[str, ...]
) -> Member:
    device = next(backbone.model.parameters()).device
    statistics = (student.mean, student.std, backbone.mean, backbone.std)
    mean, std, own_mean, own_std = (torch.tensor(one).view(1, 3, 1, 1) for one in statistics)
    return Member(
        backbone=backbone,
        scale=(std / own_std).to(device),
        shift=((mean - own_mean) / own_std).to(device),
        order=torch.tensor([files.classes.index(name) for name in classes], device=device),
        weight=about.weight if about else 1.0,
        temperature=about.temperature if about else 1.0,
    )


@lru_cache(maxsize=1)
def _load(folders: tuple[Path, ...], image_size: int, device: str, _changed: tuple[int, ...]) -> tuple[Backbone, ...]:
    """Keeps the teacher for the worker's next trial, which as a rule wants the same."""
    backbones = tuple(_read(folder).build(image_size=image_size) for folder in folders)
    for backbone in backbones:
        backbone.model.to(device).to(memory_format=torch.channels_last)
    return backbones


def _members(folder: Path) -> list[tuple[EnsembleMember | None, SavedModel]]:
    """Returns the models of a folder: one, or those that its ensemble names."""
    try:
        ensemble = read_ensemble(folder)
    except ModelError as error:
        raise SpecError(str(error)) from error
    if ensemble is None:
        return [(None, _read(folder))]
    return [(member, _read(folder / member.folder)) for member in ensemble.members]


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

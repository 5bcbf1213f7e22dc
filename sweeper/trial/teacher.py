"""A finished model that a trial learns from besides the labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sweeper.backbones import Backbone, build_backbone, restore_weights
from sweeper.data import DeviceBatch
from sweeper.errors import SpecError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine

_WEIGHTS: Final = ("best.safetensors", "model.safetensors")
"""What the weights are called in the folder of a trial and of an exported model."""


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


@dataclass(frozen=True)
class _Files:
    """What a folder says of the model in it."""

    config: TrialConfig
    weights: Path
    classes: tuple[str, ...]


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
    backbone = _load(files.weights.parent, student.image_size, str(machine.device), changed)
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
    files = _read(folder)
    data = files.config.data.model_copy(update={"image_size": image_size})
    train = files.config.train.model_copy(update={"drop_path": 0.0})
    config = files.config.model_copy(update={"data": data, "train": train})
    backbone = build_backbone(config, num_classes=len(files.classes), weights=None)
    restore_weights(backbone, load_file(files.weights), source=str(files.weights))
    backbone.model.requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    backbone.eval()
    return backbone


def _read(folder: Path) -> _Files:
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / "config.json").is_file():
        raise SpecError(
            "`train.teacher` must be the folder of a finished trial, of a sweep with one, or of an exported model, "
            f"but `{folder}` does not hold `config.json` and {' or '.join(f'`{name}`' for name in _WEIGHTS)}."
        )
    try:
        config = TrialConfig.model_validate_json((folder / "config.json").read_bytes())
        with safe_open(weights, framework="pt") as header:
            classes = json.loads((header.metadata() or {})["classes"])
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(f"`train.teacher` must be a readable model, but `{folder}` is not ({reason}).") from error
    return _Files(config, weights, tuple(classes))


def _require_classes(files: _Files, classes: tuple[str, ...]) -> None:
    if set(files.classes) != set(classes):
        differ = sorted(set(files.classes) ^ set(classes))
        owner = "the teacher" if differ[0] in files.classes else "the data"
        raise SpecError(
            f"A teacher must know the classes of the data, but `{files.weights.parent}` has {len(files.classes)} and "
            f"the data {len(classes)}; only {owner} has `{differ[0]}`."
        )

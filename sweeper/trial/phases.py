"""A trial's epochs fall into up to three phases: linear probe, training, tuning at the test's resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sweeper.backbones import describe_backbone, has_fixed_size
from sweeper.data.loader import SIZE_STEP
from sweeper.errors import SpecError
from sweeper.spec.data import DataSpec
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig

_FIXRES_GROWTH: Final = 9 / 7
"""288 px for 224 px: a random crop shows objects about 1.27 times larger than a test image (Touvron et al. 2019)."""
_FIXRES_STEP: Final = 32
"""Image sizes are multiples of it: the output stride of most networks."""
_FIXRES_LR: Final = 0.1
"""Of the head's rate. The published runs go from 0.1 down to 1e-3, over many more epochs than are usual here."""


@dataclass(frozen=True)
class Phase:
    """A run of epochs with one optimiser, one schedule, one choice of what trains and one image size."""

    first: int
    """Its first epoch, counted from 1."""
    config: TrialConfig
    """The trial's settings as they hold in this phase; `train.epochs` is the length of the phase."""
    last_norm: bool = False
    """Whether the last norm of the frozen stages trains all the same."""

    @property
    def last(self) -> int:
        """Its last epoch, included."""
        return self.first + self.config.train.epochs - 1


def phases_of(config: TrialConfig, *, num_stages: int) -> tuple[Phase, ...]:
    """Lays out the epochs of a trial; there is at least one phase, and they follow on each other without gaps.

    Args:
        config: the trial.
        num_stages: of its backbone, the head included.
    """
    train, head_alone = config.train, num_stages - 1
    head_lr = train.lr * train.head_lr_scale
    main = train.epochs - train.probe.epochs - train.fixres.epochs
    probe = train.model_copy(
        update={
            "epochs": train.probe.epochs,
            "lr": train.probe.lr or head_lr,
            "head_lr_scale": 1.0,
            "freeze_depth": head_alone,
            "tune": "all",
        }
    )
    fixres = train.model_copy(
        update={
            "epochs": train.fixres.epochs,
            "lr": train.fixres.lr or _FIXRES_LR * head_lr,
            "head_lr_scale": 1.0,
            "layer_decay": 1.0,
            "freeze_depth": head_alone,
            "tune": "all",
            "warmup_epochs": 0.0,
        }
    )
    planned = (
        Phase(1, _with_train(config, probe)),
        Phase(1 + probe.epochs, _with_train(config, train.model_copy(update={"epochs": main}))),
        Phase(1 + probe.epochs + main, _at_test_size(_with_train(config, fixres)), last_norm=True),
    )
    return tuple(phase for phase in planned if phase.config.train.epochs > 0)


def stored_data(config: TrialConfig) -> DataSpec:
    """Returns the trial's data section with images stored large enough for all of its phases."""
    data = config.data
    if config.train.fixres.epochs == 0 or data.store_size is not None:
        return data
    largest = data.model_copy(update={"image_size": max(data.image_size, fixres_image_size(config))})
    return data.model_copy(update={"store_size": largest.stored_short_side})


def fixres_image_size(config: TrialConfig) -> int:
    """Returns the side of the images that classifier and last norm are tuned for at the end, in pixels."""
    grown = round(config.data.image_size * _FIXRES_GROWTH / _FIXRES_STEP) * _FIXRES_STEP
    return config.train.fixres.image_size or grown


def check_progressive(config: TrialConfig, *, num_classes: int) -> None:
    """Refuses progressive resizing that the epochs, the sizes or the backbone do not allow; builds nothing in memory.

    Raises:
        SpecError: too many epochs, a first size above the last, or a model that takes images of one size only.
        BackboneError: the backbone cannot take one of the sizes.
    """
    train, full = config.train, config.data.image_size
    growing, size = train.progressive.epochs, train.progressive.image_size
    if growing == 0:
        return
    if growing + train.fixres.epochs > train.epochs:
        raise SpecError(
            f"`progressive.epochs` must leave room for `fixres`, but {growing} and {train.fixres.epochs} epochs are "
            f"more than the trial's {train.epochs}."
        )
    if size > full:
        raise SpecError(f"`progressive.image_size` must be at most `data.image_size`, {full}, but it is `{size}`.")
    if has_fixed_size(config.backbone):
        raise SpecError(
            f"`progressive` needs a backbone that takes images of any size, but `{config.backbone}` is built for one; "
            "set `progressive.epochs` to 0."
        )
    if train.teacher is not None:
        raise SpecError("A teacher is built for one image size, which `progressive` changes; give up one of the two.")
    for smaller in range(size, full, SIZE_STEP):
        data = config.data.model_copy(update={"image_size": smaller})
        describe_backbone(config.model_copy(update={"data": data}), num_classes=num_classes)


def _with_train(config: TrialConfig, train: TrainSpec) -> TrialConfig:
    return config.model_copy(update={"train": train})


def _at_test_size(config: TrialConfig) -> TrialConfig:
    """Returns the settings with images as the test shows them: whole, larger, and not distorted."""
    data = config.data.model_copy(update={"image_size": fixres_image_size(config)})
    augment = config.augment.model_copy(
        update={"policy": "none", "min_scale": 1.0, "color_jitter": 0.0, "erase": 0.0, "mixup": 0.0, "cutmix": 0.0}
    )
    return config.model_copy(update={"data": data, "augment": augment})

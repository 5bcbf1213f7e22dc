"""What all phases of a trial share, and how each of them begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from sweeper.backbones import Backbone, build_backbone, describe_backbone, find_weights, restore_weights, with_lora
from sweeper.data import ImageSet, open_images
from sweeper.errors import SpecError
from sweeper.paths import CachePaths
from sweeper.spec.data import DataSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.class_counts import ClassCounts, check_objective
from sweeper.trial.device import Machine
from sweeper.trial.features import FeatureFeed, check_cache_features, is_cached
from sweeper.trial.feed import Feed, open_image_feed
from sweeper.trial.label_losses import check_loss, label_loss
from sweeper.trial.learner import Learner
from sweeper.trial.loss import Criterion
from sweeper.trial.optimizer import check_optimizer
from sweeper.trial.phases import Phase, check_progressive, phases_of, stored_data
from sweeper.trial.teacher import check_teacher, open_teacher
from sweeper.trial.training import Training


@dataclass(frozen=True, eq=False)
class Setup:
    """A trial ready to begin any of its phases."""

    config: TrialConfig
    phases: tuple[Phase, ...]
    images: ImageSet
    pretrained: Path | None
    """The weights file the trial starts from; None starts from a random initialisation."""
    machine: Machine
    threads: int
    cache: CachePaths

    @classmethod
    def open(cls, config: TrialConfig, *, machine: Machine, threads: int, cache: CachePaths) -> Setup:
        """Opens the images, decoding them if need be, and finds the weights.

        Raises:
            InputError: images, backbone or weights cannot be had as asked.
        """
        images = _open_images(stored_data(config), cache)
        check_group(config, images, size=machine.group.size)
        num_classes = len(images.classes)
        check_objective(config, images.split("train").labels, num_classes=num_classes)
        stages = describe_backbone(config, num_classes=num_classes).stages
        return cls(
            config=config,
            phases=phases_of(config, num_stages=len(stages)),
            images=images,
            pretrained=find_weights(config.backbone, config.weights, cache),
            machine=machine,
            threads=threads,
            cache=cache,
        )

    def begin(self, phase: Phase, *, weights: Mapping[str, Tensor] | None = None) -> Training:
        """Builds the model, the batches and the optimiser of a phase.

        Args:
            phase: one of `phases`.
            weights: of the phase before, as `Training.weights` returns them; None starts from `pretrained`.

        Raises:
            InputError: the backbone, the optimiser or the teacher cannot be had as asked.
        """
        backbone = self._backbone(phase, weights)
        feed = self._feed(phase, backbone)
        config = phase.config
        counts = self._counts()
        criterion = self._criterion(config, backbone, counts)
        learner = Learner.start(backbone, config.train, feed=feed, machine=self.machine, criterion=criterion)
        return Training(learner, feed, counts, self.images)

    def _counts(self) -> ClassCounts:
        labels = self.images.split("train").labels
        counts = ClassCounts.of(labels, self.config, num_classes=len(self.images.classes))
        return counts.to(self.machine.device)

    def _criterion(self, config: TrialConfig, student: Backbone, counts: ClassCounts) -> Criterion:
        return Criterion(
            labels=label_loss(self.config, counts),
            teacher=open_teacher(config, student=student, classes=self.images.classes, machine=self.machine),
            weight=config.train.teacher_weight,
            temperature=config.train.teacher_temperature,
        )

    def _backbone(self, phase: Phase, weights: Mapping[str, Tensor] | None) -> Backbone:
        config, train = phase.config, phase.config.train
        start = self.pretrained if weights is None else None
        backbone = build_backbone(config, num_classes=len(self.images.classes), weights=start)
        if weights is not None:
            restore_weights(backbone, weights, source="the phase before")
        if train.tune == "lora":
            backbone = with_lora(backbone, config)
        layout = torch.channels_last if train.channels_last else torch.contiguous_format
        backbone.model.to(self.machine.device).to(memory_format=layout)
        backbone.freeze(train.freeze_depth, tune=train.tune, last_norm=phase.last_norm)
        self.machine.group.share(backbone.model.state_dict().values())
        return backbone

    def _feed(self, phase: Phase, backbone: Backbone) -> Feed:
        images = open_image_feed(phase, self.images, backbone, machine=self.machine, threads=self.threads)
        if not is_cached(phase):
            return images
        return FeatureFeed(
            phase, images, backbone, machine=self.machine, cache=self.cache, data=self.images.fingerprint
        )


def check_trial(config: TrialConfig, *, classes: tuple[str, ...]) -> None:
    """Refuses a trial that could not begin one of its phases; builds no model in memory.

    Raises:
        BackboneError: the backbone cannot be built as asked.
        SpecError: there is no such optimiser, no such teacher for these classes, or the loss cannot be had so.
    """
    check_optimizer(config.train.optimizer)
    check_loss(config)
    check_teacher(config, classes=classes)
    stages = describe_backbone(config, num_classes=len(classes)).stages
    for phase in phases_of(config, num_stages=len(stages)):
        describe_backbone(phase.config, num_classes=len(classes))
    check_progressive(config, num_classes=len(classes))
    check_cache_features(config, num_classes=len(classes), num_stages=len(stages))


def check_group(config: TrialConfig, images: ImageSet, *, size: int) -> None:
    """Refuses what several processes cannot divide among them.

    Raises:
        SpecError: a batch has fewer images than there are processes, or the images are streamed.
    """
    if size == 1:
        return
    smallest = min(config.train.batch_size, len(images.split("train")))
    if smallest < size:
        raise SpecError(
            f"The GPUs of a trial divide each batch among them, but a batch of `{smallest}` images is too small for "
            f"{size}; raise `train.batch_size` or lower `resources.gpus_per_trial`."
        )
    if config.data.stream:
        raise SpecError(
            "The GPUs of a trial divide each batch among them, but images of a stream are known only once they are "
            f"read; set `data.stream: false`, or `resources.gpus_per_trial: 1` instead of `{size}`."
        )


@lru_cache(maxsize=1)
def _open_images(data: DataSpec, cache: CachePaths) -> ImageSet:
    """Keeps the images open for the worker's next trial, which as a rule wants the same."""
    return open_images(data, cache)

"""A feed of features: the frozen stages are computed once for a few views of each image; the rest trains on that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sweeper.backbones import Backbone, build_backbone
from sweeper.backbones.cut import Cut, cut
from sweeper.data import Batch, DeviceBatch
from sweeper.errors import SpecError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine
from sweeper.trial.feature_store import Features, FeatureStore
from sweeper.trial.feed import Feed, ImageFeed, Pending
from sweeper.trial.phases import Phase, phases_of

_BATCH_SETTINGS = {"mixup", "cutmix", "mix_prob", "hide_metadata"}
"""Settings of `augment` that do not act on an image by itself."""


def check_cache_features(config: TrialConfig, *, num_classes: int, num_stages: int) -> None:
    """Refuses `cache_features` where nothing could be kept; builds the backbone without memory.

    Raises:
        SpecError: no stage is frozen, or images are mixed, or a teacher needs them.
        BackboneError: the backbone cannot be cut behind its frozen stages.
    """
    if config.train.cache_features == 0:
        return
    phases = [phase for phase in phases_of(config, num_stages=num_stages) if is_cached(phase)]
    if not phases:
        raise SpecError("`cache_features` keeps what frozen stages give, but no stage is frozen; raise `freeze_depth`.")
    if config.augment.mixup or config.augment.cutmix:
        raise SpecError("`cache_features` keeps features of single images; set `augment.mixup` and `cutmix` to 0.")
    if config.train.teacher is not None:
        raise SpecError("A teacher needs the images, which `cache_features` leaves out; give up one of the two.")
    for phase in phases:
        with torch.device("meta"):
            backbone = build_backbone(phase.config, num_classes=num_classes, weights=None)
        _frozen(backbone, phase)
        cut(backbone.model, _prefix(backbone, phase), metadata=backbone.takes_metadata)


def is_cached(phase: Phase) -> bool:
    """Whether a phase trains on kept features."""
    return phase.config.train.cache_features > 0 and phase.config.train.freeze_depth > 0


@final
@dataclass(frozen=True, eq=False)
class FeatureFeed(Feed):
    """Features through what of the model is not frozen; epoch e trains on view (e - 1) mod N + 1."""

    images: ImageFeed
    views: int
    store: FeatureStore
    backbone: Backbone
    prefix: frozenset[str]
    """Names of the parameters before the cut."""
    machine: Machine
    _kept: dict[str, Features] = field(default_factory=dict)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches in an epoch."""
        return self.images.batches_per_epoch

    def epoch(self, epoch: int) -> Generator[Pending, None, None]:
        """Yields the batches of epoch `epoch`, computing its view first if nobody has."""
        view = (epoch - 1) % self.views + 1
        loader = self.images.train
        features = self._features(f"train-{view:04d}", len(loader.split), partial(loader.view, view))
        for indices in loader.batches(epoch):
            metadata = loader.metadata_of(epoch, indices)
            yield self._pending(features, indices, loader.split.labels[indices], metadata)

    def validation(self) -> Iterator[Pending]:
        """Yields the features of all validation images."""
        loader = self.images.val
        features = self._features("val", len(loader.split), lambda: loader)
        for first in range(0, len(loader.split), loader.batch_size):
            indices = np.arange(first, min(first + loader.batch_size, len(loader.split)))
            metadata = None if loader.metadata is None else loader.metadata[indices]
            yield self._pending(features, indices, loader.split.labels[indices], metadata)

    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        """Returns what of `model` comes after the frozen stages."""
        return self._cut(model).rest

    def _cut(self, model: nn.Module) -> Cut:
        return cut(model, self.prefix, metadata=self.images.train.metadata is not None)

    def _features(self, name: str, num_images: int, batches: Callable[[], Iterable[Batch]]) -> Features:
        if name not in self._kept:
            self._kept[name] = self.store.get(name, num_images=num_images, compute=self._compute(batches))
        return self._kept[name]

    def _compute(
        self, batches: Callable[[], Iterable[Batch]]
    ) -> Iterator[tuple[npt.NDArray[np.int64], tuple[Tensor, ...]]]:
        prefix = self._cut(self.backbone.model).prefix
        for batch in batches():
            images = self.images.preprocess(batch).inputs[0]
            with torch.no_grad(), self.machine.autocast():
                features = prefix(images)
            yield batch.indices.numpy(), features

    def _pending(
        self,
        features: Features,
        indices: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        metadata: npt.NDArray[np.float32] | None,
    ) -> Pending:
        def to_device() -> DeviceBatch:
            extra = () if metadata is None else (torch.from_numpy(metadata),)
            inputs = (*features.rows(indices), *extra)
            device = self.machine.device
            return DeviceBatch(tuple(one.to(device) for one in inputs), torch.from_numpy(labels).to(device))

        return Pending(len(indices), to_device)


def open_feature_feed(
    phase: Phase, images: ImageFeed, backbone: Backbone, *, machine: Machine, store: FeatureStore
) -> FeatureFeed:
    """Opens the kept features of a phase.

    Args:
        phase: which epochs.
        images: what the features are computed from.
        backbone: on the device, and frozen as it is to be.
        machine: what it runs on.
        store: named by `feature_key`.
    """
    return FeatureFeed(images, phase.config.train.cache_features, store, backbone, _prefix(backbone, phase), machine)


def feature_key(phase: Phase, backbone: Backbone, *, data: str, bf16: bool) -> str:
    """Returns sixteen hexadecimal digits that change with anything the features of a phase depend on.

    Args:
        phase: which epochs.
        backbone: frozen as it is to be; its frozen weights themselves count, wherever they come from.
        data: the fingerprint of the images.
        bf16: whether the forward pass runs in bf16.
    """
    prefix, parameters = _prefix(backbone, phase), dict(backbone.model.named_parameters())
    augment = phase.config.augment.model_dump(mode="json", exclude=_BATCH_SETTINGS)
    numbers = (backbone.image_size, backbone.mean, backbone.std, backbone.crop_pct, phase.config.seed, bf16)
    digest = hashlib.sha256(json.dumps([data, backbone.name, augment, numbers]).encode())
    for name, tensor in sorted(backbone.model.state_dict().items()):
        if name in prefix or name not in parameters:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _frozen(backbone: Backbone, phase: Phase) -> None:
    train = phase.config.train
    backbone.freeze(train.freeze_depth, tune=train.tune, last_norm=phase.last_norm)
    backbone.train()


def _prefix(backbone: Backbone, phase: Phase) -> frozenset[str]:
    """Returns the names of the frozen parameters in the frozen stages."""
    parameters = dict(backbone.model.named_parameters())
    stages = backbone.stages[: phase.config.train.freeze_depth]
    names = (name for stage in stages for name in stage.parameters)
    return frozenset(name for name in names if not parameters[name].requires_grad)

"""A feed of features: the frozen stages are computed once for a few views of each image; the rest trains on that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from sweeper.backbones import Backbone, build_backbone
from sweeper.backbones.cut import Cut, cut
from sweeper.data import Batch, DeviceBatch, EvalLoader
from sweeper.errors import SpecError
from sweeper.paths import CachePaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine
from sweeper.trial.feature_store import Features, FeatureStore
from sweeper.trial.feed import Feed, ImageFeed, Pending
from sweeper.trial.phases import Phase, phases_of
from sweeper.trial.watchdog import alive

_FORMAT_VERSION: Final = 1
"""Part of the key: raise it with any change of the files' layout or of how images are augmented."""
_BATCH_SETTINGS: Final = {"mixup", "cutmix", "mix_prob", "hide_metadata"}
"""Settings of `augment` that do not act on an image by itself."""
_MOST_IMAGES: Final = 64
"""In one pass of the frozen stages: a batch that fits into memory as features may not fit as images."""


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
    if any(phase.config.augment.mixup or phase.config.augment.cutmix for phase in phases):
        raise SpecError("`cache_features` keeps features of single images; set `augment.mixup` and `cutmix` to 0.")
    if config.train.teacher is not None:
        raise SpecError("A teacher needs the images, which `cache_features` leaves out; give up one of the two.")
    if config.train.progressive.epochs > 0:
        raise SpecError("`cache_features` keeps features of one image size; set `progressive.epochs` to 0.")
    for phase in phases:
        _check_cut(phase, num_classes=num_classes)


def is_cached(phase: Phase) -> bool:
    """Whether a phase trains on kept features."""
    return phase.config.train.cache_features > 0 and phase.config.train.freeze_depth > 0


@final
@dataclass(frozen=True, eq=False)
class FeatureFeed(Feed):
    """Features through what of the model is not frozen; epoch e trains on view (e - 1) mod N + 1.

    View v of an image is the image as epoch v augments it, so that with N epochs or less nothing is different.
    """

    phase: Phase
    images: ImageFeed
    """What the features are computed from."""
    backbone: Backbone
    """On the device, and frozen as it is to be."""
    machine: Machine
    cache: CachePaths
    data: str
    """The fingerprint of the images."""
    _opened: dict[str, Features] = field(default_factory=dict)

    @property
    def batches_per_epoch(self) -> int:
        """Training batches in an epoch."""
        return self.images.batches_per_epoch

    @property
    def views(self) -> int:
        """Rows of a validation image."""
        return self.images.views

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Pending, None, None]:
        """Yields the batches of epoch `epoch`, computing its view first if nobody has."""
        loader, view = self.images.train, self._view(epoch)
        features = self._features(_train_view(view), loader.view(view))
        for indices in loader.batches(epoch)[skip:]:
            metadata = loader.metadata_of(epoch, indices)
            yield self._pending(features.rows(indices), loader.split.labels, indices, metadata)

    def validation(self) -> Iterator[Pending]:
        """Yields the features of all validation images."""
        loader = self.images.val
        features = self._features(_val_view(loader), replace(loader, rank=0, ranks=1))
        for images in loader.batches():
            indices = np.repeat(images, loader.views)
            rows = (images[:, None] * loader.views + np.arange(loader.views)).ravel()
            metadata = None if loader.metadata is None else loader.metadata[indices]
            yield self._pending(features.rows(rows), loader.split.labels, indices, metadata)

    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        """Returns what of `model` comes after the frozen stages, in the mode that it is in now."""
        return self._cut(model).rest

    def _view(self, epoch: int) -> int:
        return (epoch - 1) % self.phase.config.train.cache_features + 1

    def _cut(self, model: nn.Module) -> Cut:
        frozen = frozen_parameters(self.backbone, self.phase)
        return cut(model, frozen, metadata=self.images.train.metadata is not None)

    @cached_property
    def _prefix(self) -> fx.GraphModule:
        return self._cut(self.backbone.model).prefix

    @cached_property
    def _store(self) -> FeatureStore:
        # Not made before the first batch is asked for: a trial that goes on has its own weights back only then.
        train, val = self.images.train, self.images.val
        key = feature_key(self._prefix, self._resolved, self.backbone, data=self.data, bf16=self.machine.bf16)
        views = {self._view(epoch) for epoch in range(self.phase.first, self.phase.last + 1)}
        sizes = {_train_view(view): len(train.split) for view in views}
        return FeatureStore(self.cache.features(key), views=sizes | {_val_view(val): len(val.split) * val.views})

    @property
    def _resolved(self) -> Phase:
        """The phase, with `augment.batched` as it came to be: the two ways differ by a grey level here and there."""
        augment = self.phase.config.augment.model_copy(update={"batched": self.images.train.device is not None})
        return replace(self.phase, config=self.phase.config.model_copy(update={"augment": augment}))

    def _features(self, name: str, batches: Iterable[Batch]) -> Features:
        if name not in self._opened:
            self._opened[name] = self._store.get(name, compute=self._compute(batches))
        return self._opened[name]

    def _compute(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, ...]]:
        for batch in batches:
            alive()
            for part in self.images.preprocess(batch).parts(_MOST_IMAGES):
                with torch.no_grad(), self.machine.autocast():
                    features = self._prefix(part.inputs[0])
                yield features

    def _pending(
        self,
        features: tuple[Tensor, ...],
        labels: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64],
        metadata: npt.NDArray[np.float32] | None,
    ) -> Pending:
        def to_device() -> DeviceBatch:
            extra = () if metadata is None else (torch.from_numpy(metadata),)
            inputs = (*features, *extra)
            device = self.machine.device
            return DeviceBatch(tuple(one.to(device) for one in inputs), torch.from_numpy(labels[indices]).to(device))

        return Pending(len(indices), indices, to_device)


def feature_key(prefix: fx.GraphModule, phase: Phase, backbone: Backbone, *, data: str, bf16: bool) -> str:
    """Returns sixteen hexadecimal digits that change with anything the features of a phase depend on.

    Args:
        prefix: what computes them; its steps and its weights count, wherever those come from.
        phase: whose augmentation and seed count.
        backbone: what the prefix was cut from.
        data: the fingerprint of the images.
        bf16: whether the forward pass runs in bf16.
    """
    config = phase.config
    augment = config.augment.model_dump(mode="json", exclude=_BATCH_SETTINGS)
    model = (backbone.name, config.backbone_args, str(prefix.code))
    numbers = (backbone.image_size, backbone.mean, backbone.std, backbone.crop_pct, config.seed, bf16)
    settings = json.dumps([_FORMAT_VERSION, data, model, augment, numbers], sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(prefix.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def frozen_parameters(backbone: Backbone, phase: Phase) -> frozenset[str]:
    """Returns the names of the parameters in the frozen stages, but for a last norm that trains even so."""
    parameters = dict(backbone.model.named_parameters())
    stages = backbone.stages[: phase.config.train.freeze_depth]
    names = (name for stage in stages for name in stage.parameters)
    return frozenset(name for name in names if not parameters[name].requires_grad)


def _train_view(view: int) -> str:
    return f"train-{view:04d}"


def _val_view(loader: EvalLoader) -> str:
    return "val" if loader.tta == "none" else f"val-{loader.tta}"


def _check_cut(phase: Phase, *, num_classes: int) -> None:
    train = phase.config.train
    with torch.device("meta"):
        backbone = build_backbone(phase.config, num_classes=num_classes, weights=None)
        backbone.freeze(train.freeze_depth, tune=train.tune, last_norm=phase.last_norm)
        backbone.eval()
        halves = cut(backbone.model, frozen_parameters(backbone, phase), metadata=backbone.takes_metadata)
        metadata = (torch.empty(2, 7),) if backbone.takes_metadata else ()
        halves.check(torch.empty(2, 3, backbone.image_size, backbone.image_size), *metadata)

"""A first look at a backbone: a linear probe on its frozen features, without any fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sweeper.backbones import Backbone, build_backbone, find_weights
from sweeper.backbones.stages import classifier_parameters
from sweeper.data import EvalLoader, ImageSplit, Preprocessor, StreamSplit, open_images
from sweeper.paths import CachePaths
from sweeper.records import BackboneLook
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine, find_machine, release_memory
from sweeper.trial.feed import rgb
from sweeper.trial.phases import stored_data

_PER_CLASS: Final = {"train": 30, "val": 20}
"""Images of a class that are looked at, at most."""
_IMAGES: Final = {"train": 1500, "val": 1000}
"""Images in all, at most; with many classes each gets its even share, and one at least."""
_BATCH: Final = 32
_SHRINKAGES: Final = tuple(10.0**power for power in range(-2, 6))
"""Penalties of the ridge regression; leave-one-out picks one."""


def look_at(config: TrialConfig, *, device: str, threads: int, cache: CachePaths) -> BackboneLook:
    """Returns how well a backbone's features, as they were pretrained, tell the classes apart.

    A few images of each class go once through the backbone at the trial's image size, without augmentation;
    a ridge regression on what its classifier would see is scored on validation images. A linear probe ranks
    pretrained models much as fine-tuning them does (Kornblith et al. 2019; Renggli et al. 2022), not exactly.

    Args:
        config: the backbone with its settings; what it says of training is not used.
        device: as `Runtime.device`.
        threads: that read images, and that compute on a CPU.
        cache: where images and weights are.

    Raises:
        InputError: images, backbone or weights cannot be had as asked.
    """
    started = time.perf_counter()
    torch.set_num_threads(threads)
    machine = find_machine(device, precision=config.train.precision)
    try:
        top1, images = _probe(config, machine, threads, cache)
    finally:
        release_memory()
    return BackboneLook(backbone=config.backbone, top1=top1, images=images, seconds=time.perf_counter() - started)


def _probe(config: TrialConfig, machine: Machine, threads: int, cache: CachePaths) -> tuple[float, int]:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images = open_images(stored_data(config), cache)
    weights = find_weights(config.backbone, config.weights, cache)
    # The classifier is not used: the plain one keeps the features where the pretraining had them.
    plain = config.model_copy(update={"head": type(config.head)()})
    backbone = build_backbone(plain, num_classes=len(images.classes), weights=weights)
    backbone.model.to(machine.device)
    reader = _Reader(backbone, machine, threads, num_classes=len(images.classes))
    train, val = (_sample(images.split(name), name, seed=config.seed) for name in ("train", "val"))
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=_SHRINKAGES))
    probe.fit(reader.features(train), train.labels)
    return float(probe.score(reader.features(val), val.labels)), len(train) + len(val)


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads what the classifier of a backbone is given for each image."""

    backbone: Backbone
    machine: Machine
    threads: int
    num_classes: int

    def features(self, split: ImageSplit | StreamSplit) -> npt.NDArray[np.float32]:
        """Returns the features (N, D) of a split's images."""
        self.backbone.eval()
        return np.concatenate([features.float().cpu().numpy() for features in self._batches(split)])

    def _batches(self, split: ImageSplit | StreamSplit) -> Iterator[Tensor]:
        backbone = self.backbone
        loader = EvalLoader(
            split,
            image_size=backbone.image_size,
            batch_size=_BATCH,
            crop_pct=backbone.crop_pct,
            threads=self.threads,
        )
        preprocess = Preprocessor(
            mean=rgb(backbone.mean), std=rgb(backbone.std), num_classes=self.num_classes, device=self.machine.device
        )
        seen: list[Tensor] = []
        handle = _classifier(backbone).register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            for batch in loader:
                with torch.no_grad(), self.machine.autocast():
                    backbone.model(*preprocess(batch).inputs)
                yield seen.pop().flatten(1)
        finally:
            handle.remove()


def _classifier(backbone: Backbone) -> nn.Module:
    """Returns the layer that turns features into class scores; of two, as in distilled models, the first."""
    parameters = classifier_parameters(backbone.model)
    return backbone.model.get_submodule(parameters[0].rpartition(".")[0])


def _sample(split: ImageSplit | StreamSplit, name: Literal["train", "val"], *, seed: int) -> ImageSplit | StreamSplit:
    """Returns a few images of each class, the same ones for every backbone."""
    labels, shuffled = split.labels, np.random.default_rng(seed).permutation(len(split))
    most = min(_PER_CLASS[name], max(1, _IMAGES[name] // len(np.unique(labels))))
    taken = [shuffled[labels[shuffled] == label][:most] for label in np.unique(labels)]
    return split.select(np.sort(np.concatenate(taken)))

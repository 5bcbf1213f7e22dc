"""The real images that an export is compared, calibrated and quantised with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeper.backbones import Backbone, SavedModel
from sweeper.data import ImageSet, Pixels, Preprocessor, find_pictures, open_images
from sweeper.errors import DataError, ModelError
from sweeper.export.info import ModelInfo
from sweeper.export.networks import METADATA_WIDTH, Network
from sweeper.paths import CachePaths
from sweeper.trial.device import Machine
from sweeper.trial.feed import ImageFeed, open_image_feed
from sweeper.trial.phases import Phase, stored_data

Inputs = tuple[Tensor, ...]
"""What a network is called with: images (B, 3, S, S) float32, perhaps metadata (B, 7)."""
_BATCH = 64
_THREADS = 4
_CPU = Machine(torch.device("cpu"), bf16=False)


class Source(ABC):
    """Images of the model's own kind."""

    name: str
    """What they are, for people."""

    @abstractmethod
    def batches(self) -> Iterator[Inputs]:
        """Yields all images as the network takes them, on the CPU, always in the same order."""

    @property
    @abstractmethod
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(N,): the class of each image, None where it is not known of all of them."""

    @abstractmethod
    def sample(self, count: int) -> tuple[Pixels, str]:
        """Returns up to `count` images for quantisation, (n, S, S, 3) uint8, and what they are, for people."""


def scores_of(network: Network, source: Source) -> npt.NDArray[np.float32]:
    """Returns the logits of all images of a source, (N, C)."""
    return torch.cat([network(*inputs) for inputs in source.batches()]).numpy()


@final
class ValidationSource(Source):
    """The validation split of the trial; its training images are for quantisation."""

    name = "the validation split"

    def __init__(self, saved: SavedModel, backbone: Backbone, info: ModelInfo, *, cache: CachePaths) -> None:
        """Opens the images, decoding them if need be.

        Raises:
            DataError: they cannot be used.
            ModelError: they have other classes than the model.
        """
        self._images = _images_of(saved, cache)
        self._info = info
        config = saved.config
        changed = {
            "data": config.data.model_copy(update={"image_size": saved.image_size}),
            "train": config.train.model_copy(update={"batch_size": _BATCH}),
            # One view of each image, cropped by OpenCV: what `predict` shows of a file.
            "eval": config.eval.model_copy(update={"tta": "none"}),
            "augment": config.augment.model_copy(update={"batched": False}),
        }
        phase = Phase(1, config.model_copy(update=changed))
        self._feed: ImageFeed = open_image_feed(phase, self._images, backbone, machine=_CPU, threads=_THREADS)

    @property
    def fingerprint(self) -> str:
        """Changes with the images, their split and the way they are stored."""
        return self._images.fingerprint

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each image."""
        return self._images.split("val").labels

    def batches(self) -> Iterator[Inputs]:
        """Yields exactly what a trial evaluates."""
        for pending in self._feed.validation():
            yield _complete(pending.to_device().inputs, self._info)

    def sample(self, count: int) -> tuple[Pixels, str]:
        """Draws training images."""
        train = self._images.split("train")
        drawn = _drawn(len(train), count)
        view = self._info.preprocess.view
        return np.stack([view.of_image(train.image(at)) for at in drawn]), f"{len(drawn)} training images"


@final
@dataclass(frozen=True, eq=False)
class FolderSource(Source):
    """Image files of any folder; where each lies in a folder named as a class, their labels are known."""

    folder: Path
    info: ModelInfo

    @property
    def name(self) -> str:  # type: ignore[override]  # a plain attribute in the base class
        """The folder."""
        return f"the images in `{self.folder}`"

    @cached_property
    def _paths(self) -> tuple[Path, ...]:
        """Those that can be read."""
        paths = tuple(find_pictures([str(self.folder)]))
        with ThreadPoolExecutor(_THREADS) as pool:
            readable = tuple(path for path, good in zip(paths, pool.map(self._reads, paths), strict=True) if good)
        if not readable:
            raise DataError(f"A model is compared on images, but `{self.folder}` holds none that can be read.")
        return readable

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """By the names of the folders that the images lie in."""
        order = {name: at for at, name in enumerate(self.info.classes)}
        names = [path.parent.name for path in self._paths]
        if any(name not in order for name in names):
            return None
        return np.array([order[name] for name in names], dtype=np.int64)

    def batches(self) -> Iterator[Inputs]:
        """Reads the files anew each time: they may be more than fit into memory."""
        mean, std = self.info.preprocess.mean, self.info.preprocess.std
        preprocess = Preprocessor(mean, std, num_classes=len(self.info.classes), device=_CPU.device)
        for first in range(0, len(self._paths), _BATCH):
            paths = self._paths[first : first + _BATCH]
            yield _complete((preprocess.normalised(torch.from_numpy(self._squares(paths))),), self.info)

    def sample(self, count: int) -> tuple[Pixels, str]:
        """Draws from the same images."""
        drawn = [self._paths[at] for at in _drawn(len(self._paths), count)]
        return self._squares(drawn), f"{len(drawn)} of {self.name}"

    def _squares(self, paths: Sequence[Path]) -> Pixels:
        with ThreadPoolExecutor(_THREADS) as pool:
            return np.stack(list(pool.map(self.info.preprocess.view.of_file, paths)))

    def _reads(self, path: Path) -> bool:
        try:
            self.info.preprocess.view.of_file(path)
        except DataError:
            return False
        return True


def _complete(inputs: Inputs, info: ModelInfo) -> Inputs:
    """Returns the inputs with zeros for metadata that the network takes and nobody knows."""
    if info.takes_metadata and len(inputs) == 1:
        return *inputs, torch.zeros(len(inputs[0]), METADATA_WIDTH)
    return inputs


def _images_of(saved: SavedModel, cache: CachePaths) -> ImageSet:
    try:
        images = open_images(stored_data(saved.config), cache)
    except DataError as error:
        raise DataError(
            f"{error} To compare and calibrate on other images, name their folder with `--images`."
        ) from error
    if images.classes != saved.classes:
        raise ModelError(
            f"A model is compared on images of its own classes, but the data has {len(images.classes)} classes and the "
            f"model {len(saved.classes)}: the images have changed since the trial; name a folder with `--images`."
        )
    return images


def _drawn(total: int, count: int) -> list[int]:
    """Returns up to `count` positions of `total`, spread at random and the same ones every time."""
    order = np.random.default_rng(0).permutation(total)[:count]
    return sorted(int(at) for at in order)

"""A trained model that answers pictures with class names and probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sweeper.backbones import Backbone, SavedModel, read_saved_model
from sweeper.data import Pixels, Preprocessor
from sweeper.errors import DataError
from sweeper.export.info import ModelInfo, Preprocess
from sweeper.export.networks import METADATA_WIDTH, Network, TorchNetwork, open_onnx, open_program
from sweeper.trial.device import find_machine
from sweeper.trial.phases import stored_data

Picture = str | Path | Pixels | Image.Image
"""A file, an array (height, width, 3) of uint8, RGB, or an image of Pillow's."""


@dataclass(frozen=True)
class Guess:
    """A class and how likely it is."""

    label: str
    probability: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one image."""

    guesses: tuple[Guess, ...]
    """The most likely classes, best first."""
    probabilities: np.ndarray[tuple[int], np.dtype[np.float32]]
    """(C,): of all classes, in the model's order."""

    @property
    def label(self) -> str:
        """The most likely class."""
        return self.guesses[0].label

    @property
    def probability(self) -> float:
        """How likely that is, 0 to 1."""
        return self.guesses[0].probability


@dataclass(frozen=True, eq=False)
class Model:
    """A network with all that is needed to ask it.

    Example::

        model = sweeper.load_model("exported")
        for picture in model.predict(["fly_agaric.jpg", "unknown.jpg"], top_k=3):
            print(picture.label, f"{picture.probability:.0%}", picture.guesses)
    """

    info: ModelInfo
    network: Network

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return self.info.classes

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes what the network takes."""
        return self.info.preprocess

    def predict(self, images: Sequence[Picture], *, top_k: int = 5, flip: bool = False) -> list[Prediction]:
        """Says what images show.

        Args:
            images: files, arrays or images of Pillow's; all of them are in memory at once, cropped.
            top_k: how many guesses an image gets.
            flip: test-time augmentation: average over each image and its mirror image.

        Raises:
            DataError: an image cannot be read; `predict_files` goes on with the others.
        """
        return self.predict_pixels(np.stack([self._prepared(image) for image in images]), top_k=top_k, flip=flip)

    def predict_pixels(self, pixels: Pixels, *, top_k: int = 5, flip: bool = False) -> list[Prediction]:
        """Says what squares show that are cropped already, (N, S, S, 3) uint8; arguments as those of `predict`."""
        probabilities = self.probabilities(pixels, flip=flip).numpy()
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        return [
            Prediction(tuple(Guess(self.classes[at], float(row[at])) for at in ranked), row)
            for row, ranked in zip(probabilities, best, strict=True)
        ]

    def probabilities(self, pixels: Pixels, *, flip: bool = False) -> Tensor:
        """Returns calibrated probabilities (N, C) of squares (N, S, S, 3) uint8, arguments as of `predict`."""
        images = self._normalise.normalised(torch.from_numpy(pixels))
        views = (images, images.flip(-1)) if flip else (images,)
        logits = torch.stack([self.network(view, self._unknown(view)) for view in views])
        if self.info.adjustment is not None:
            logits = logits - torch.tensor(self.info.adjustment)
        return (logits / self.info.temperature).softmax(dim=2).mean(dim=0)

    def uncalibrated(self) -> Model:
        """Returns the model with the probabilities of the plain softmax."""
        return replace(self, info=self.info.model_copy(update={"temperature": 1.0}))

    def _prepared(self, image: Picture) -> Pixels:
        view = self.preprocess.view
        if isinstance(image, np.ndarray):
            return view.of_image(image)
        if isinstance(image, Image.Image):
            return view.of_image(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
        try:
            return view.of_file(Path(image))
        except DataError as error:
            raise DataError(f"`{image}` cannot be read as an image: {error}.") from error

    def _unknown(self, images: Tensor) -> Tensor | None:
        """Returns the metadata of images of which nothing is known."""
        return torch.zeros(len(images), METADATA_WIDTH) if self.info.takes_metadata else None

    @cached_property
    def _normalise(self) -> Preprocessor:
        mean, std = self.preprocess.mean, self.preprocess.std
        return Preprocessor(mean, std, num_classes=len(self.classes), device=torch.device("cpu"))


def load_model(path: str | Path, *, device: str = "auto") -> Model:
    """Opens a trained model: the folder of an exported model or of a finished trial, or a `.onnx` or `.pt2` file.

    Needs neither Ray nor Optuna nor MLflow.

    Args:
        path: the folder or file.
        device: `cpu`, `cuda:<index>`, or `auto`; files always run on the CPU.

    Raises:
        ModelError: there is no model, or none that can be opened.
        BackboneError: its network cannot be built.
        ResourceError: there is no such device.
    """
    path = Path(path)
    if path.suffix == ".onnx" and path.is_file():
        network, info = open_onnx(path)
        return Model(info, network)
    if path.suffix == ".pt2" and path.is_file():
        program, info = open_program(path)
        return Model(info, program)
    return open_saved(read_saved_model(path), device=device)


def open_saved(saved: SavedModel, *, device: str = "auto") -> Model:
    """Opens the model of a folder; arguments and errors as those of `load_model`."""
    backbone = saved.build()
    machine = find_machine(device, precision="fp32")
    told = saved.details.get("info")
    info = ModelInfo.model_validate(told) if told else info_of(saved, backbone)
    return Model(info, TorchNetwork(backbone.model, machine.device))


def info_of(saved: SavedModel, backbone: Backbone) -> ModelInfo:
    """Returns what a trial's settings say of the model it trained, which is not calibrated yet."""
    return ModelInfo(
        backbone=backbone.name,
        classes=saved.classes,
        preprocess=Preprocess.of(backbone, short_side=stored_data(saved.config).stored_short_side),
        takes_metadata=backbone.takes_metadata,
        adjustment=_adjustment(saved),
    )


def _adjustment(saved: SavedModel) -> tuple[float, ...] | None:
    """Returns what the trial's ranking took off the logits; None where it was ranked by the logits as they are."""
    if saved.config.objective != "balanced_accuracy_adjusted" or "tau" not in saved.header:
        return None
    tau, shares = json.loads(saved.header["tau"]), json.loads(saved.header["class_shares"])
    return tuple(tau * math.log(share) for share in shares) if tau else None

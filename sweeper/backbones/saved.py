"""A model's folder, of a finished trial or of an export, becomes a Backbone with its trained weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sweeper.backbones.backbone import Backbone
from sweeper.backbones.build import build_backbone
from sweeper.backbones.load import restore_weights
from sweeper.errors import ModelError
from sweeper.paths import ModelPaths, TrialPaths
from sweeper.spec.trial import TrialConfig

OWN_KEY: Final = "sweeper"
"""Where the `config.json` of an exported model holds what is ours; the rest of the file is timm's."""
TRIAL_KEY: Final = "trial"
DIGEST_KEY: Final = "sha256"
"""In the header of a weights' file: the digest of its tensors."""


@dataclass(frozen=True)
class SavedModel:
    """What a model's folder says of the model in it; the weights are read when it is built."""

    folder: Path
    weights: Path
    config: TrialConfig
    """The trial's settings, as they were when it began."""
    classes: tuple[str, ...]
    image_size: int
    """Side of the square image the weights are for, in pixels: FixRes ends at a larger one than it began with."""
    header: dict[str, str]
    """Everything that the weights' file says about itself."""
    details: dict[str, Any]
    """What an export adds beside the settings; empty for a trial's folder."""

    def build(self, *, image_size: int | None = None) -> Backbone:
        """Returns the model in eval mode on the CPU, its parameters frozen.

        Args:
            image_size: side of the square image, in pixels; None takes the one the weights are for.

        Raises:
            BackboneError: the model cannot be built, or not for this image size.
        """
        data = self.config.data.model_copy(update={"image_size": image_size or self.image_size})
        train = self.config.train.model_copy(update={"drop_path": 0.0})
        config = self.config.model_copy(update={"data": data, "train": train})
        backbone = build_backbone(config, num_classes=len(self.classes), weights=None)
        weights = load_file(self.weights)
        known = self.header.get(DIGEST_KEY)
        if known is not None and known != digest_of(weights):
            raise ModelError(f"A model's weights must be whole, but `{self.weights}` is damaged; take another trial.")
        restore_weights(backbone, weights, source=str(self.weights))
        backbone.model.requires_grad_(False)
        backbone.eval()
        return backbone


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Returns a SHA-256 of tensors and their names, which the header of a file of ours holds."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def holds_model(folder: Path) -> bool:
    """Whether a folder looks like that of a finished trial or of an exported model."""
    return _weights_in(folder) is not None and ModelPaths(folder).config.is_file()


def read_saved_model(folder: Path, *, called: str = "A model") -> SavedModel:
    """Reads what a folder says of its model; of the weights, the header only.

    Args:
        folder: of a finished trial or of an exported model.
        called: what the user calls it, for the message.

    Raises:
        ModelError: the folder holds no model, or one that cannot be read.
    """
    weights = _weights_in(folder)
    if weights is None or not holds_model(folder):
        names = TrialPaths(folder).best.name, ModelPaths(folder).weights.name
        raise ModelError(
            f"{called} must be the folder of a finished trial, of a sweep with one, or of an exported model, but "
            f"`{folder}` does not hold `config.json` and {' or '.join(f'`{name}`' for name in names)}."
        )
    try:
        content = json.loads(ModelPaths(folder).config.read_bytes())
        own = content.get(OWN_KEY, {TRIAL_KEY: content})
        config = TrialConfig.model_validate(own[TRIAL_KEY])
        with safe_open(weights, framework="pt") as file:
            header = dict(file.metadata() or {})
        classes = tuple(json.loads(header["classes"]))
        image_size = int(header["image_size"])
    except (OSError, ValidationError, SafetensorError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{called} must be a readable model, but `{folder}` is not ({reason}).") from error
    details = {name: value for name, value in own.items() if name != TRIAL_KEY}
    return SavedModel(folder, weights, config, classes, image_size, header, details)


def _weights_in(folder: Path) -> Path | None:
    candidates = (TrialPaths(folder).best, ModelPaths(folder).weights)
    return next((path for path in candidates if path.is_file()), None)

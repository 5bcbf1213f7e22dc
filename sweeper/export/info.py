"""What goes with a network wherever it goes: its classes, how to prepare images, its temperature, where it is from."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict

from sweeper.backbones import Backbone
from sweeper.data import EvalView
from sweeper.records import EpochMetrics


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Preprocess(_Value):
    """From an image to what the network takes: shrink, crop, resize, normalise."""

    short_side: int
    """Short side to which the upright image is shrunk first, in pixels; a smaller one stays as it is."""
    crop_pct: float
    """Side of the centre crop over the short side."""
    image_size: int
    """Side of the square that the crop is resized to (bilinear; area averages from a reduction by two), in pixels."""
    mean: tuple[float, float, float]
    """Subtracted from each RGB channel, on a scale of 0 to 1."""
    std: tuple[float, float, float]
    """What each channel is divided by afterwards, likewise."""

    @classmethod
    def of(cls, backbone: Backbone, *, short_side: int) -> Self:
        """Returns how the images of `backbone` are prepared from images of a short side of `short_side` pixels."""
        (red, green, blue), (red_std, green_std, blue_std) = backbone.mean, backbone.std
        return cls(
            short_side=short_side,
            crop_pct=backbone.crop_pct,
            image_size=backbone.image_size,
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
        )

    @property
    def view(self) -> EvalView:
        """What turns an image into the square that is then normalised."""
        return EvalView(self.short_side, self.crop_pct, self.image_size)


class ModelInfo(_Value):
    """All that is needed to predict with a network of any format."""

    backbone: str
    """The name in timm's registry, with its pretrained tag."""
    classes: tuple[str, ...]
    """A score is of the class at its position."""
    preprocess: Preprocess
    temperature: float = 1.0
    """Logits are divided by it before the softmax (Guo et al. 2017)."""
    adjustment: tuple[float, ...] | None = None
    """Taken off the logits, a number a class: tau times the log of its share in training, where the trial was ranked by
    the balanced accuracy that this gives (Menon et al. 2021); None leaves the logits as they are."""
    takes_metadata: bool = False
    """Whether the network takes date and place, (N, 7), beside the images; zeros where they are not known."""


class Origin(_Value):
    """Where a model comes from."""

    sweep: str | None
    """Name of the sweep; None where the trial ran without one."""
    trial: int | None
    trial_hash: str
    """Names the settings."""
    metrics: EpochMetrics | None
    """Of the epoch that the weights are from; None where the trial did not note them."""
    data_fingerprint: str | None
    """Changes with the images and their split; None where it is not known."""
    licence: str | None
    """Of the pretrained weights that the trial started from; None where nobody states it, or there were none."""
    versions: dict[str, str]
    """Of the packages that made the export."""

"""A timm model with a head of ours in place of its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sweeper.backbones.heads.blocks import blocks_of
from sweeper.backbones.heads.classifiers import classifier_of
from sweeper.backbones.heads.pooling import pool_of
from sweeper.backbones.stages import Stage
from sweeper.errors import BackboneError
from sweeper.spec.head import HeadSpec

Layout = Literal["NCHW", "NHWC", "NLC", "NC"]
"""How a model gives its features: as a map, with channels first or last, as tokens, or pooled to a vector."""


class HeadedModel(nn.Module):
    """Encoder, extra blocks and head: images (B, 3, S, S) to scores (B, num_classes)."""

    def __init__(self, encoder: nn.Module, head: HeadSpec, *, features: int, layout: Layout, num_classes: int) -> None:
        super().__init__()
        self.takes_metadata = bool(getattr(encoder, "takes_metadata", False))
        self.encoder = encoder
        self.layout = layout
        self.prefix_tokens = _prefix_tokens(encoder) if layout == "NLC" else 0
        self.blocks = blocks_of(head, features=features)
        pool = pool_of(head, features=features)
        classifier = classifier_of(head, features=pool.out_features, num_classes=num_classes)
        self.head = nn.Sequential(pool, nn.Dropout(head.dropout), classifier)

    def no_weight_decay(self) -> set[str]:
        """Names the parameters that weight decay leaves out: what the encoder lists."""
        listed = self.encoder.no_weight_decay() if hasattr(self.encoder, "no_weight_decay") else ()  # type: ignore[operator]
        return {f"encoder.{name}" for name in listed}

    def forward(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Returns the scores of images, with metadata (B, 7) where the encoder takes it."""
        features = self.encoder(images, metadata) if self.takes_metadata else self.encoder(images)
        scores: Tensor = self.head(self.blocks(self._tokens(features)))
        return scores

    def _tokens(self, features: Tensor) -> Tensor:
        """Returns the features as (B, N, C), those of the image alone: class tokens are left out."""
        if self.layout == "NCHW":
            return features.flatten(2).transpose(1, 2)
        if self.layout == "NHWC":
            return features.flatten(1, 2)
        if self.layout == "NC":
            return features.unsqueeze(1)
        return features[:, self.prefix_tokens :]


def attach_head(
    model: nn.Module, stages: tuple[Stage, ...], head: HeadSpec, *, num_classes: int, image_size: int
) -> tuple[nn.Module, tuple[Stage, ...]]:
    """Returns the model with a head of ours in place of its own, and its stages.

    New weights are drawn from torch's global generator. One image goes through the model, to see how it gives its
    features.

    Args:
        model: of timm, with its own classifier; it is taken apart.
        stages: of the model as it is; the last is its classifier.
        head: what is asked for.
        num_classes: width of the scores.
        image_size: side of the images in pixels.

    Raises:
        BackboneError: the model gives no features that such a head can take.
    """
    _take_apart(model)
    place = next(model.parameters())
    with torch.no_grad():
        features = model.eval()(torch.zeros(1, 3, image_size, image_size, device=place.device, dtype=place.dtype))
    layout, channels = _layout(features, model)
    model.train()
    needs_map = head.blocks > 0 or head.type in ("gem", "covariance", "seb")
    if needs_map and layout == "NC":
        raise BackboneError(
            f"A head of type `{head.type}` with {head.blocks} extra blocks needs a map of features, but "
            f"`{type(model).__name__}` gives one vector an image; use `linear`, `mlp` or `cosine` without blocks."
        )
    # One position has no covariance, so that all images would get the same scores.
    least, found = 2 if head.type in ("covariance", "seb") else 1, _positions(features, layout, model)
    if found < least:
        raise BackboneError(
            f"A head of type `{head.type}` needs features at {least} or more positions of an image, but "
            f"`{type(model).__name__}` gives {found} for {image_size} px; set a larger `image_size`, or choose another "
            "head or backbone."
        )
    headed = HeadedModel(model, head, features=channels, layout=layout, num_classes=num_classes)
    encoder = {name for name, _ in headed.named_parameters() if name.startswith("encoder.")}
    renamed = (
        Stage(stage.name, tuple(f"encoder.{name}" for name in stage.parameters if f"encoder.{name}" in encoder))
        for stage in stages[:-1]
    )
    own = tuple(name for name, _ in headed.named_parameters() if name not in encoder)
    return headed, (*renamed, Stage(stages[-1].name, own))


def _take_apart(model: nn.Module) -> None:
    """Takes the classifier and the pooling from a timm model, in place."""
    try:
        model.reset_classifier(0, "")  # type: ignore[operator]
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        raise BackboneError(
            f"A head of ours takes features that are not pooled, but `{type(model).__name__}` does not give them "
            f"({str(error).rstrip('.')}); use its own: `head: {{type: linear}}` without blocks and dropout."
        ) from error


def _prefix_tokens(model: nn.Module) -> int:
    """Returns how many tokens stand before those of the image; VOLO has one and does not say so."""
    unsaid = isinstance(getattr(model, "cls_token", None), nn.Parameter)
    return int(getattr(model, "num_prefix_tokens", unsaid))


def _positions(features: Tensor, layout: Layout, model: nn.Module) -> int:
    """Returns at how many places of an image there are features."""
    if layout == "NLC":
        return features.shape[1] - _prefix_tokens(model)
    return features[0].numel() // features.shape[1 if layout == "NCHW" else -1]


def _layout(features: object, model: nn.Module) -> tuple[Layout, int]:
    """Returns how the features of one image lie, and how many channels they have."""
    channels = {getattr(model, "num_features", None), getattr(model, "head_hidden_size", None)}
    shape = tuple(features.shape) if isinstance(features, Tensor) else ()
    given = f"a tensor of shape `{shape}`" if shape else f"a `{type(features).__name__}`"
    if len(shape) == 4 and shape[1] in channels and getattr(model, "output_fmt", "NCHW") != "NHWC":
        return "NCHW", shape[1]
    if len(shape) == 4 and shape[3] in channels:
        return "NHWC", shape[3]
    if len(shape) == 3 and shape[2] in channels:
        return "NLC", shape[2]
    if len(shape) == 2:
        return "NC", shape[1]
    raise BackboneError(
        f"A head takes the features of a backbone as a map, as tokens or as a vector, but `{type(model).__name__}` "
        f"gives {given}; use its own: `head: {{type: linear}}` without blocks and dropout."
    )

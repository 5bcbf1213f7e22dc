"""What backbones there are: those of the study and of the systems it cites, and all that timm knows."""

from __future__ import annotations

import fnmatch
from typing import Final

import timm
from pydantic import BaseModel, ConfigDict

from sweeper.backbones.build import describe_backbone, takes_image_size
from sweeper.backbones.catalog import look_up
from sweeper.backbones.weights import source_of_weights
from sweeper.errors import BackboneError, nearest
from sweeper.paths import CachePaths
from sweeper.spec.data import DigitsData
from sweeper.spec.trial import TrialConfig

SHOWN: Final = (
    "nat_mini.shi_in1k", "dinat_mini.shi_in1k", "dinat_s_tiny.shi_in1k", "davit_tiny.msft_in1k",
    "maxvit_tiny_rw_224.sw_in1k", "vit_huge_patch14_224.mae", "senet154.gluon_in1k", "tf_efficientnet_b5.ns_jft_in1k",
    "metafg_2", "metafg_meta_2", "tf_efficientnet_lite0.in1k",
)  # fmt: skip
"""One of each family: the study's backbones, the systems it cites, and the one whose weights come with sweeper.

Every search space file of this repository has its backbone here.
"""
_STEPS: Final = (1, 14, 16, 32, 64)
"""Steps in image size that are tried, in pixels: any size, patches, and the usual output strides and windows."""
_CLASSES: Final = 1000


class BackboneSummary(BaseModel):
    """One line of `sweeper backbones`."""

    model_config = ConfigDict(frozen=True)

    name: str
    """`architecture.tag`."""
    parameters: int
    """With a classifier for 1,000 classes."""
    stages: tuple[str, ...]
    image_size: int
    """Of the pretraining, in pixels."""
    image_step: int | None
    """Sizes that differ by this many pixels run too; None if no other size was found to."""
    weights: str
    """Where pretrained weights would come from: `cache`, `package`, `hub cache`, `hub`, `url` or `own file`."""
    weights_at: str | None
    """Which package, repository or address."""
    licence: str | None
    """Of the weights."""


def find_names(pattern: str | None) -> tuple[str, ...]:
    """Returns the names that a shell pattern matches, pretrained tags included; None is the shown selection.

    Raises:
        BackboneError: it matches nothing; names what is close.
    """
    if pattern is None:
        return SHOWN
    architectures, tagged = timm.list_models(), timm.list_pretrained()
    plain = sorted(set(architectures) - {name.partition(".")[0] for name in tagged})
    found = fnmatch.filter([*tagged, *plain], pattern) or fnmatch.filter(architectures, pattern)
    if not found:
        hint = nearest(pattern, architectures) or "; `*` matches any text, as in `nat*`."
        raise BackboneError(f"A backbone must be a timm model, but `{pattern}` matches none{hint}")
    return tuple(sorted(found))


def summarise(name: str, cache: CachePaths) -> BackboneSummary:
    """Describes a backbone without building it in memory and without a network.

    Raises:
        BackboneError: it has no classifier, or cannot be divided into stages.
    """
    entry = look_up(name)
    config = _config(name, entry.image_size)
    info = describe_backbone(config, num_classes=_CLASSES)
    source = source_of_weights(entry.name, cache)
    others = ((step, _config(name, entry.image_size + step)) for step in _STEPS)
    return BackboneSummary(
        name=info.name,
        parameters=info.parameters,
        stages=tuple(stage.name for stage in info.stages),
        image_size=entry.image_size,
        image_step=next((step for step, other in others if takes_image_size(other, num_classes=_CLASSES)), None),
        weights=source.kind,
        weights_at=source.place,
        licence=info.licence,
    )


def _config(name: str, image_size: int) -> TrialConfig:
    data = DigitsData.model_construct(source="digits", image_size=image_size)
    return TrialConfig(backbone=name, weights="random", data=data)

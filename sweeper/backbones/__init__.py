"""A name becomes a model that knows its own ordered stages. The only import of timm models.

Read in this order: `catalog` (what timm knows of a name), `weights` (where its pretrained weights are),
`build` (a point becomes a model), `stages` (stem, stage1 .. stage4, head), `backbone` (freeze, train, groups).
"""

from __future__ import annotations

from sweeper.backbones import dinat_s as _dinat_s  # noqa: F401 - registers its models with timm
from sweeper.backbones import metaformer as _metaformer  # noqa: F401 - likewise
from sweeper.backbones import nat as _nat  # noqa: F401 - likewise
from sweeper.backbones.backbone import Backbone, ParamGroup
from sweeper.backbones.build import BackboneInfo, StageInfo, build_backbone, describe_backbone, with_lora
from sweeper.backbones.catalog import has_fixed_size
from sweeper.backbones.load import restore_weights
from sweeper.backbones.lora import merged_state
from sweeper.backbones.published import is_timms_own, open_in_timm, opens_in_timm, write_config
from sweeper.backbones.saved import DIGEST_KEY, SavedModel, digest_of, holds_model, read_saved_model
from sweeper.backbones.stages import Stage, find_stages
from sweeper.backbones.weights import find_weights

__all__ = [
    "DIGEST_KEY",
    "Backbone",
    "BackboneInfo",
    "ParamGroup",
    "SavedModel",
    "Stage",
    "StageInfo",
    "build_backbone",
    "describe_backbone",
    "digest_of",
    "find_stages",
    "find_weights",
    "has_fixed_size",
    "holds_model",
    "is_timms_own",
    "merged_state",
    "open_in_timm",
    "opens_in_timm",
    "read_saved_model",
    "restore_weights",
    "with_lora",
    "write_config",
]

"""A name becomes a model that knows its own ordered stages. The only import of timm models.

Read in this order: `catalog` (what timm knows of a name), `weights` (where its pretrained weights are),
`build` (a point becomes a model), `stages` (stem, stage1 .. stage4, head), `backbone` (freeze, train, groups).
"""

from __future__ import annotations

from sweeper.backbones.backbone import Backbone, ParamGroup
from sweeper.backbones.build import BackboneInfo, StageInfo, build_backbone, describe_backbone
from sweeper.backbones.stages import Stage, find_stages
from sweeper.backbones.weights import find_weights

__all__ = [
    "Backbone",
    "BackboneInfo",
    "ParamGroup",
    "Stage",
    "StageInfo",
    "build_backbone",
    "describe_backbone",
    "find_stages",
    "find_weights",
]

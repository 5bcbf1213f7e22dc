"""TrialConfig: one complete, frozen set of sections, from which a trial runs without the search space."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field

from sweeper.spec.data import DataSpec
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.head import HeadSpec
from sweeper.spec.model import Section
from sweeper.spec.training import AugmentSpec, TrainSpec


class TrialConfig(Section):
    """What one trial runs; `hash` names it."""

    backbone: str = Field(min_length=1)
    """A timm model name, with or without its pretrained tag."""
    weights: str = "pretrained"
    """`pretrained`, `random`, or the path of a weights file or directory."""
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's constructor."""
    data: DataSpec
    head: HeadSpec = HeadSpec()
    train: TrainSpec = TrainSpec()
    augment: AugmentSpec = AugmentSpec()
    eval: EvalSpec = EvalSpec()
    objective: str = "top1"
    """The metric whose best epoch's weights are kept."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds the new head, the data order, the augmentation and dropout."""

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change with any setting and not with the order of keys."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

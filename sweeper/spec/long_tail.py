"""Settings of `train:` for classes of very different sizes: which images an epoch shows, and how a mistake counts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.spec.model import Section

Sampler = Literal["natural", "sqrt", "balanced"]
Loss = Literal["cross_entropy", "balanced_softmax", "logit_adjustment", "ldam_drw", "focal", "class_balanced", "seesaw"]


class LongTailSettings(Section):
    """How unequal classes are treated; each default is the published one."""

    sampler: Sampler = "natural"
    """How often a class is shown: as often as it has images, by the square root (`sqrt`), or all alike (`balanced`)."""
    loss: Loss = "cross_entropy"
    """What the labels' part of the loss is."""
    loss_tau: float = Field(default=1.0, ge=0.0)
    """`logit_adjustment`: how much of the log class share is added to the logits (1: Menon et al. 2021)."""
    loss_gamma: float = Field(default=2.0, ge=0.0)
    """`focal`: how fast a well classified image loses its weight (2: Lin et al. 2017)."""
    loss_beta: float = Field(default=0.9999, ge=0.0, lt=1.0)
    """`class_balanced`, `ldam_drw`: of the effective number of images (Cui et al. 2019; Cao et al. 2019)."""
    loss_margin: float = Field(default=0.5, ge=0.0)
    """`ldam_drw`: margin of the rarest class, in cosines with `head.type: cosine`, else in logits (Cao et al. 2019)."""
    loss_drw: float = Field(default=0.8, ge=0.0, le=1.0)
    """`ldam_drw`: share of the trial's epochs before the classes are weighted (160 of 200 in Cao et al. 2019)."""
    loss_mitigation: float = Field(default=0.8, ge=0.0)
    """`seesaw`: exponent that spares rare classes the gradients of frequent ones (Wang et al. 2021)."""
    loss_compensation: float = Field(default=2.0, ge=0.0)
    """`seesaw`: exponent that takes the sparing back where a rare class is a wrong guess (Wang et al. 2021)."""

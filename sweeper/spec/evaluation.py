"""The `eval:` section: how the validation images are judged."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sweeper.spec.model import Section

Tta = Literal["none", "flip", "ten_crop"]
"""Test-time augmentation: which views of an image are averaged."""


class EvalSpec(Section):
    """How a model is evaluated after each epoch."""

    tta: Tta = "none"
    """Views of an image whose probabilities are averaged: 1, 2 (`flip`) or 10 (`ten_crop`), each at the same cost."""
    head_above: int = Field(default=100, ge=1)
    """Classes with more training images than this are the head of the distribution (Liu et al. 2019)."""
    tail_below: int = Field(default=20, ge=0)
    """Classes with fewer training images than this are its tail; those between are its middle (Liu et al. 2019)."""

    @model_validator(mode="after")
    def groups_do_not_overlap(self) -> Self:
        """A class belongs to one group."""
        if self.tail_below > self.head_above + 1:
            raise ValueError(f"`tail_below` needs to be at most `head_above` + 1, {self.head_above + 1}")
        return self

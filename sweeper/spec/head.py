"""The `head:` section: what turns the backbone's features into class scores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.spec.model import Section


class HeadSpec(Section):
    """The classifier and what stands between it and the backbone. Searched as `head.type`, `head.blocks`, ..."""

    type: Literal["linear", "mlp", "cosine", "gem", "covariance", "seb"] = "linear"
    """`linear` (the backbone's own), `mlp`, `cosine`, `gem`, `covariance` (iSQRT-COV), `seb` (with an eigen branch)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the features that is dropped before the classifier."""
    hidden: int = Field(default=512, ge=1)
    """Width of the hidden layer of `mlp`."""
    scale: float = Field(default=16.0, gt=0.0)
    """What `cosine` multiplies its similarities with."""
    power: float = Field(default=3.0, ge=1.0)
    """Where the exponent of `gem` starts; 1 is average pooling."""
    channels: int = Field(default=128, ge=2)
    """Channels whose covariance `covariance` and `seb` take; they give channels x (channels + 1) / 2 features."""
    iterations: int = Field(default=5, ge=1)
    """Newton-Schulz steps of the matrix square root in `covariance` and `seb`."""
    blocks: int = Field(default=0, ge=0)
    """Extra blocks between backbone and head; they start as the identity."""
    block_type: Literal["attention", "mlp"] = "attention"
    """What the extra blocks are."""

    @property
    def is_plain(self) -> bool:
        """Whether the backbone's own classifier serves."""
        return self.type == "linear" and self.blocks == 0 and self.dropout == 0.0

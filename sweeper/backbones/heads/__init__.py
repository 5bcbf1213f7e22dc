"""What can stand in the place of a backbone's own classifier: extra blocks, a pooling, a classifier."""

from __future__ import annotations

from sweeper.backbones.heads.headed import HeadedModel, attach_head

__all__ = ["HeadedModel", "attach_head"]

"""From one vector an image to a score a class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from sweeper.spec.head import HeadSpec


class CosineClassifier(nn.Module):
    """Scores by the angle between features and a class's direction, times a fixed scale.

    The length of neither counts, so that frequent classes cannot win by longer weights (Gidaris and Komodakis
    2018; on long tails LIFT, Shi et al. 2024).
    """

    def __init__(self, features: int, num_classes: int, *, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, features))
        self.scale = scale
        trunc_normal_(self.weight, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Returns (B, num_classes), each from -scale to scale, of (B, features)."""
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


def classifier_of(head: HeadSpec, *, features: int, num_classes: int) -> nn.Module:
    """Returns the classifier that a head asks for; it takes (B, features)."""
    if head.type == "cosine":
        return CosineClassifier(features, num_classes, scale=head.scale)
    if head.type == "mlp":
        hidden = nn.Linear(features, head.hidden)
        return nn.Sequential(hidden, nn.GELU(), nn.Dropout(head.dropout), _linear(head.hidden, num_classes))
    return _linear(features, num_classes)


def _linear(features: int, num_classes: int) -> nn.Linear:
    layer = nn.Linear(features, num_classes)
    trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer

"""From the tokens of an image to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sweeper.backbones.heads.covariance import CovariancePool
from sweeper.backbones.heads.precision import in_float32
from sweeper.spec.head import HeadSpec

_LEAST = 1e-6
"""What GeM takes for anything smaller, as its power is of positive numbers."""


class AveragePool(nn.Module):
    """The mean over all tokens."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_features = features

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (B, C) of (B, N, C)."""
        return tokens.mean(dim=1)


class GeMPool(nn.Module):
    """The generalised mean with a learned exponent (Radenovic et al. 2019): 1 is the average, large the maximum."""

    def __init__(self, features: int, *, power: float) -> None:
        super().__init__()
        self.out_features = features
        self.power = nn.Parameter(torch.full((1,), power))

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (B, C) of (B, N, C); negative values count as nearly 0."""
        # In float32 whatever the model runs in: powers and their roots leave the range of bf16's precision.
        with in_float32(tokens.device):
            floored = tokens.float().clamp(min=_LEAST)
            # Relative to the largest: the powers of a channel that is small everywhere would all underflow to zero.
            largest = floored.amax(dim=1, keepdim=True).detach()
            powered = (floored / largest).pow(self.power)
            return largest.squeeze(1) * powered.mean(dim=1).pow(1.0 / self.power)


def pool_of(head: HeadSpec, *, features: int) -> AveragePool | GeMPool | CovariancePool:
    """Returns the pooling that a head asks for; it takes (B, N, features) and knows its `out_features`."""
    if head.type == "gem":
        return GeMPool(features, power=head.power)
    if head.type in ("covariance", "seb"):
        return CovariancePool(
            features, channels=head.channels, iterations=head.iterations, eigen_branch=head.type == "seb"
        )
    return AveragePool(features)

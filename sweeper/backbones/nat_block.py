"""The transformer block that NAT, DiNAT and DiNAT_s are made of; parameters are named as in the published weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp, trunc_normal_
from torch import Tensor, nn

from sweeper.backbones.neighborhood import neighborhood_attention

Kernels = Literal["portable", "natten"]
"""Who computes the attention: ours, or natten's fused kernels, which know no bias."""


@dataclass(frozen=True)
class BlockConfig:
    """What all blocks of a network have in common."""

    kernel_size: int = 7
    mlp_ratio: float = 3.0
    qkv_bias: bool = True
    rel_pos_bias: bool = True
    layer_scale: float | None = None
    """Where the scales of the two branches start; None has no scales."""
    drop_rate: float = 0.0
    attention: Kernels = "portable"

    def __post_init__(self) -> None:
        """Refuses what cannot be computed.

        Raises:
            ValueError: natten is asked for where it cannot serve.
        """
        if self.attention not in ("portable", "natten"):
            raise ValueError(f"`attention` must be `portable` or `natten`, but is `{self.attention}`")
        if self.attention == "natten" and self.rel_pos_bias:
            raise ValueError("natten's kernels have no relative positional bias; set `rel_pos_bias: false` with them")
        if self.attention == "natten" and find_spec("natten") is None:
            raise ValueError("`attention: natten` needs the package natten, which is not installed")


class NeighborhoodAttention(nn.Module):
    """Multi-head attention of each pixel to its neighbours, over maps (B, H, W, C) of any size."""

    def __init__(self, dim: int, *, num_heads: int, dilation: int, config: BlockConfig) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel_size = config.kernel_size
        self.dilation = dilation
        self.kernels = config.attention
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        side = 2 * config.kernel_size - 1
        self.rpb = nn.Parameter(torch.zeros(num_heads, side, side)) if config.rel_pos_bias else None
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(config.drop_rate)
        if self.rpb is not None:
            trunc_normal_(self.rpb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, H, W, C) of the same shape."""
        _, height, width, channels = x.shape
        least = self.kernel_size * self.dilation
        # A map smaller than the dilated window is filled up at the right and the bottom, as natten did up to 0.14.
        x = F.pad(x, (0, 0, 0, max(0, least - width), 0, max(0, least - height)))
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, channels // self.num_heads)).unbind(3)
        attended = self._attend(query, key, value)[:, :height, :width].flatten(3)
        projected: Tensor = self.proj_drop(self.proj(attended))
        return projected

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        window = {"kernel_size": self.kernel_size, "dilation": self.dilation}
        if self.kernels == "portable":
            return neighborhood_attention(query, key, value, bias=self.rpb, **window)
        from natten.functional import na2d

        attended: Tensor = na2d(query.contiguous(), key.contiguous(), value.contiguous(), **window)
        return attended

    def extra_repr(self) -> str:
        """What the printed module says."""
        return f"num_heads={self.num_heads}, kernel_size={self.kernel_size}, dilation={self.dilation}"


class Block(nn.Module):
    """Pre-norm attention and MLP, each perhaps scaled, on maps (B, H, W, C)."""

    def __init__(self, dim: int, *, num_heads: int, dilation: int, drop_path: float, config: BlockConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = NeighborhoodAttention(dim, num_heads=num_heads, dilation=dilation, config=config)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * config.mlp_ratio), drop=config.drop_rate)
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.gamma1, self.gamma2 = (
            None if config.layer_scale is None else nn.Parameter(torch.full((dim,), config.layer_scale))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, H, W, C) of the same shape."""
        attended = self.attn(self.norm1(x))
        x = x + self.drop_path(attended if self.gamma1 is None else self.gamma1 * attended)
        mixed = self.mlp(self.norm2(x))
        return x + self.drop_path(mixed if self.gamma2 is None else self.gamma2 * mixed)  # type: ignore[no-any-return]


def init_weights(module: nn.Module) -> None:
    """Initialises a linear layer as the authors do; to be given to `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

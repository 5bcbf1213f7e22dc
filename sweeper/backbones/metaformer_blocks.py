"""The two kinds of blocks that a MetaFormer is made of, and its encoder of metadata.

Names of parameters are those of dqshuai/MetaFormer (`models/MBConv.py`, `models/MHSA.py`, `models/meta_encoder.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

_NORM_EPS = 0.01
"""As published: ten times that of EfficientNet's own blocks."""


class ConvBlock(nn.Module):
    """An inverted bottleneck with squeeze and excitation over maps (B, C, H, W)."""

    def __init__(self, dim: int, out_dim: int, *, ratio: float, drop_path: float, stride: int = 1) -> None:
        super().__init__()
        wide, squeezed = int(dim * ratio), max(1, dim // 4)
        self._expand_conv = nn.Conv2d(dim, wide, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(wide, eps=_NORM_EPS)
        self._depthwise_conv = nn.Conv2d(wide, wide, 3, stride=stride, padding=1, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=_NORM_EPS)
        self._se_reduce = nn.Conv2d(wide, squeezed, 1)
        self._se_expand = nn.Conv2d(squeezed, wide, 1)
        self._project_conv = nn.Conv2d(wide, out_dim, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_dim, eps=_NORM_EPS)
        self.shortcut = stride == 1 and dim == out_dim
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, out_dim, H / stride, W / stride)."""
        wide = F.silu(self._bn1(self._depthwise_conv(F.silu(self._bn0(self._expand_conv(x))))))
        gate = self._se_expand(F.silu(self._se_reduce(wide.mean(dim=(2, 3), keepdim=True))))
        narrow: Tensor = self._bn2(self._project_conv(torch.sigmoid(gate) * wide))
        return x + self.drop_path(narrow) if self.shortcut else narrow


class RelativeAttention(nn.Module):
    """Attention over extra tokens and the pixels of a square map, with a bias for each offset between pixels."""

    relative_position_index: Tensor

    def __init__(self, dim: int, *, side: int, num_heads: int, tokens: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2 + 1, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        offset = at[:, :, None] - at[:, None, :] + side - 1
        index = offset[0] * (2 * side - 1) + offset[1]
        # As published, extra tokens share the bias of the two corners that are farthest apart, row 0.
        padded = F.pad(index, (tokens, 0, tokens, 0))
        self.register_buffer("relative_position_index", padded, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, tokens + side x side, C)."""
        channels = x.shape[2]
        split = self.qkv(x).unflatten(2, (3, self.num_heads, channels // self.num_heads))
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind()
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None].to(query.dtype))
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class OverlapPatchEmbed(nn.Module):
    """A convolution of stride 2: maps (B, C, H, W) to tokens (B, H/2 x W/2, C)."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, out_dim, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the tokens, row by row."""
        tokens: Tensor = self.norm(self.proj(x).flatten(2).transpose(1, 2))
        return tokens


class AttentionBlock(nn.Module):
    """Pre-norm attention and MLP over tokens (B, N, C); the first of a stage makes the tokens from a map."""

    def __init__(  # noqa: PLR0913 - the numbers of one block
        self,
        dim: int,
        out_dim: int,
        *,
        side: int,
        num_heads: int,
        tokens: int,
        ratio: float,
        embeds: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.patch_embed = OverlapPatchEmbed(dim, out_dim) if embeds else None
        self.norm1 = nn.LayerNorm(out_dim)
        self.attn = RelativeAttention(out_dim, side=side, num_heads=num_heads, tokens=tokens)
        self.norm2 = nn.LayerNorm(out_dim)
        self.mlp = Mlp(out_dim, hidden_features=int(out_dim * ratio))
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Returns tokens (B, N, C).

        Args:
            x: tokens (B, N, C), or in the first block of a stage a map (B, C, H, W).
            extra: (B, tokens, C): what stands before the pixels from this block on.
        """
        if self.patch_embed is not None and extra is not None:
            x = torch.cat([extra, self.patch_embed(x)], dim=1)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class MetadataEncoder(nn.Sequential):
    """One part of the metadata (B, width) to a token (B, C)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(nn.Linear(width, dim), nn.ReLU(), nn.LayerNorm(dim), _Residual(dim))


class _Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm_fn1, self.norm_fn2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.w1, self.w2 = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_fn1(F.relu(self.w1(x)))
        return x + self.norm_fn2(F.relu(self.w2(y)))  # type: ignore[no-any-return]

"""Neighbourhood attention with a relative positional bias, in plain PyTorch: any device, any type, any map.

Each pixel attends to the `kernel_size` x `kernel_size` pixels nearest to it; at the border the window is moved
inwards, not cut (Hassani et al., "Neighborhood Attention Transformer", 2023). With a dilation d the pixels fall
into d x d groups, each of which attends within itself as if it were the whole map (Hassani and Shi, "Dilated
Neighborhood Attention Transformer", 2022); where d does not divide the map, groups differ in length by one.

A group is cut into tiles of queries. The keys that a tile needs are one contiguous range, so every tile is an
ordinary attention with a mask, and all tiles of all groups are one call. A group that is hardly longer than the
window is a single tile, and one that is as long as the window is plain dense attention without a mask.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_DENSE = 2
"""Groups of up to this many windows in length are one tile: cutting them up would not save arithmetic."""


class _Cut(NamedTuple):
    """How the pixels along one axis of a map are dealt out to tiles."""

    tiles: int
    size: int
    """Pixels of a tile along the axis."""
    at: Tensor
    """(tiles x size,): their positions on the axis. The last tile of a group is filled up with its last pixel."""


class _Tables(NamedTuple):
    queries: Tensor
    """(tiles x size of a query tile,): positions on the axis."""
    keys: Tensor
    """(tiles x size of a key tile,): positions on the axis."""
    back: Tensor
    """(length,): where each position's result is among the queries."""
    relative: Tensor
    """(tiles, queries, keys): index into the bias, key minus query plus `kernel_size` - 1."""
    inside: Tensor
    """(tiles, queries, keys): whether the key is in the query's window."""


class _Axis(NamedTuple):
    """One axis of a map, cut into tiles."""

    queries: _Cut
    keys: _Cut
    tables: _Tables
    masked: bool
    """Whether some query of a tile must not see some key of it."""


def neighborhood_attention(  # noqa: PLR0913 - the operands and the settings of one operator
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    kernel_size: int,
    dilation: int = 1,
    bias: Tensor | None = None,
) -> Tensor:
    """Returns the attention of each pixel to its neighbours, (B, H, W, heads, head_dim) as all three inputs.

    Scores are scaled by head_dim^-0.5 before the bias is added.

    Args:
        query: (B, H, W, heads, head_dim).
        key: likewise.
        value: likewise.
        kernel_size: side of the window, in pixels of a group; at least 1.
        dilation: distance between neighbours, in pixels of the map.
        bias: (heads, 2 x kernel_size - 1, 2 x kernel_size - 1), by the offset of the key; None adds nothing.

    Raises:
        ValueError: the map is smaller than `kernel_size` times `dilation`.
    """
    batch, height, width, heads, _ = query.shape
    if min(height, width) < kernel_size * dilation:
        raise ValueError(
            f"a map must have at least {kernel_size * dilation} pixels a side for a kernel of {kernel_size} with "
            f"dilation {dilation}, but it has {height} x {width}"
        )
    rows, columns = (_axis(length, kernel_size, dilation, query.device) for length in (height, width))
    attended = F.scaled_dot_product_attention(
        _tiled(query, rows.queries, columns.queries),
        _tiled(key, rows.keys, columns.keys),
        _tiled(value, rows.keys, columns.keys),
        attn_mask=_mask(rows, columns, bias, query),
    )
    tiles = rows.queries.tiles, columns.queries.tiles
    sizes = rows.queries.size, columns.queries.size
    joined = attended.view(batch, *tiles, heads, *sizes, -1).permute(0, 1, 4, 2, 5, 3, 6)
    whole = joined.reshape(batch, tiles[0] * sizes[0], tiles[1] * sizes[1], heads, -1)
    whole = whole if tiles[0] == 1 else whole.index_select(1, rows.tables.back)
    return whole if tiles[1] == 1 else whole.index_select(2, columns.tables.back)


def _tiled(pixels: Tensor, rows: _Cut, columns: _Cut) -> Tensor:
    """Returns (B, tiles x heads, pixels of a tile, head_dim) of (B, H, W, heads, head_dim)."""
    batch, _, _, heads, dim = pixels.shape
    # A single tile is the whole axis in its order.
    dealt = pixels if rows.tiles == 1 else pixels.index_select(1, rows.at)
    dealt = dealt if columns.tiles == 1 else dealt.index_select(2, columns.at)
    split = dealt.view(batch, rows.tiles, rows.size, columns.tiles, columns.size, heads, dim)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, -1, rows.size * columns.size, dim)


def _mask(rows: _Axis, columns: _Axis, bias: Tensor | None, query: Tensor) -> Tensor | None:
    """Returns what is added to the scores of every tile, (tiles x heads, queries, keys), or which of them count."""
    masked = rows.masked or columns.masked
    down, across = rows.tables, columns.tables
    inside = down.inside[:, None, :, None, :, None] & across.inside[None, :, None, :, None, :]
    shape = rows.queries.size * columns.queries.size, rows.keys.size * columns.keys.size
    if bias is None:
        heads = query.shape[3]
        return inside.view(-1, 1, *shape).expand(-1, heads, -1, -1).reshape(-1, *shape) if masked else None
    spread = bias.to(query.dtype)[
        :, down.relative[:, None, :, None, :, None], across.relative[None, :, None, :, None, :]
    ]
    if masked:
        spread = spread.masked_fill(~inside, float("-inf"))
    return spread.permute(1, 2, 0, 3, 4, 5, 6).reshape(-1, *shape)


def _axis(length: int, kernel_size: int, dilation: int, device: torch.device) -> _Axis:
    longest, size, window = _sides(length, kernel_size, dilation)
    tiles = dilation * -(-longest // size)
    tables = _tables(length, kernel_size, dilation, device)
    dense = longest == kernel_size and length % dilation == 0
    return _Axis(_Cut(tiles, size, tables.queries), _Cut(tiles, window, tables.keys), tables, masked=not dense)


def _sides(length: int, kernel_size: int, dilation: int) -> tuple[int, int, int]:
    """Returns the pixels of the longest group, of a tile's queries and of its keys."""
    longest = -(-length // dilation)
    size = longest if longest <= _DENSE * kernel_size else kernel_size
    return longest, size, min(longest, size + kernel_size - 1)


def _tables(length: int, kernel_size: int, dilation: int, device: torch.device) -> _Tables:
    # The compiler makes them in its graph: to it a length may be a symbol, which no cache can look up.
    if torch.compiler.is_compiling():
        return _made_tables(length, kernel_size, dilation, device)
    return _kept_tables(length, kernel_size, dilation, device)


@lru_cache(maxsize=256)
def _kept_tables(length: int, kernel_size: int, dilation: int, device: torch.device) -> _Tables:
    # Tensors made in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return _made_tables(length, kernel_size, dilation, device)


def _made_tables(length: int, kernel_size: int, dilation: int, device: torch.device) -> _Tables:
    longest, size, window = _sides(length, kernel_size, dilation)
    group = torch.arange(dilation, device=device)[:, None, None]
    lengths = (length - group + dilation - 1) // dilation
    query = torch.arange(-(-longest // size) * size, device=device).view(1, -1, size)
    query = torch.minimum(query, lengths - 1)
    start = torch.minimum((query - kernel_size // 2).clamp(min=0), lengths - kernel_size)
    key = torch.minimum(start[..., :1], (lengths - window).clamp(min=0)) + torch.arange(window, device=device)
    inside = (key[:, :, None] >= start[..., None]) & (key[:, :, None] < start[..., None] + kernel_size)
    relative = (key[:, :, None] - query[..., None] + kernel_size - 1).clamp(0, 2 * kernel_size - 2)
    position = torch.arange(length, device=device)
    return _Tables(
        queries=(query * dilation + group).flatten(),
        keys=(torch.minimum(key, lengths - 1) * dilation + group).flatten(),
        back=position % dilation * query[0].numel() + position // dilation,
        relative=relative.flatten(0, 1),
        inside=inside.flatten(0, 1),
    )

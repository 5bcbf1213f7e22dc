"""What NAT, DiNAT and DiNAT_s share as networks: levels of blocks, timm's ways of using a model, the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.layers import calculate_drop_path_rates
from timm.models import checkpoint
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from sweeper.backbones.nat_block import Block, BlockConfig, init_weights


class Level(nn.Module):
    """Blocks at one resolution, and the step to the next one."""

    def __init__(
        self, dim: int, *, num_heads: int, dilations: Sequence[int], drop_paths: Sequence[float], config: BlockConfig
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                Block(dim, num_heads=num_heads, dilation=dilation, drop_path=drop_path, config=config)
                for dilation, drop_path in zip(dilations, drop_paths, strict=True)
            )
        )
        self.downsample: nn.Module | None = None
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the level's own output and what goes on to the next level, (B, H, W, C) each."""
        for block in self.blocks:
            x = checkpoint(block, x) if self.grad_checkpointing else block(x)
        return x, x if self.downsample is None else self.downsample(x)


class NeighborhoodTransformer(nn.Module):
    """A hierarchical transformer over maps (B, H, W, C): patch embedding, four levels, norm, pooled head.

    A subclass names its levels as its published weights do and brings its own patch embedding and downsampling.

    Args of the constructor reach users as `backbone_args`.

    Args:
        num_classes: width of the head; 0 gives features instead of scores.
        global_pool: `avg`, or nothing for features that are not pooled.
        in_chans: channels of the images.
        depths: blocks of each level.
        embed_dim: channels of the first level; each level doubles them.
        num_heads: of each level.
        kernel_size: side of the attention window.
        dilations: of each block of each level; None is 1 everywhere.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0.
        drop_rate: dropout after projections and the MLP.
        mlp_ratio: hidden width of the MLP over its width.
        qkv_bias: whether queries, keys and values have a bias.
        rel_pos_bias: whether the attention has a relative positional bias; all published weights do.
        layer_scale: where the scales of the blocks' branches start; None has none.
        attention: `portable`, or `natten` for its fused kernels where there is no bias.
    """

    levels_name = "levels"
    """What the published weights call the levels."""
    embedding: type[nn.Module]
    downsampling: type[nn.Module]

    def __init__(  # noqa: PLR0913 - timm's models take their whole configuration here
        self,
        *,
        num_classes: int = 1000,
        global_pool: str = "avg",
        in_chans: int = 3,
        depths: Sequence[int] = (3, 4, 6, 5),
        embed_dim: int = 64,
        num_heads: Sequence[int] = (2, 4, 8, 16),
        kernel_size: int = 7,
        dilations: Sequence[Sequence[int]] | None = None,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        mlp_ratio: float = 3.0,
        qkv_bias: bool = True,
        rel_pos_bias: bool = True,
        layer_scale: float | None = None,
        attention: Any = "portable",
    ) -> None:
        super().__init__()
        dilations = _fitting(dilations, depths)
        config = BlockConfig(kernel_size, mlp_ratio, qkv_bias, rel_pos_bias, layer_scale, drop_rate, attention)
        self.num_classes, self.global_pool, self.drop_rate = num_classes, global_pool, drop_rate
        widths = [embed_dim * 2**index for index in range(len(depths))]
        self.num_features = self.head_hidden_size = widths[-1]
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**index, "module": f"{self.levels_name}.{index}"}
            for index, width in enumerate(widths)
        ]
        self.patch_embed = self.embedding(in_chans, embed_dim)
        drop_paths = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        levels = nn.ModuleList(
            Level(
                width,
                num_heads=num_heads[index],
                dilations=dilations[index],
                drop_paths=drop_paths[index],
                config=config,
            )
            for index, width in enumerate(widths)
        )
        for level, width in zip(levels[:-1], widths, strict=False):
            level.downsample = self.downsampling(width)
        self.add_module(self.levels_name, levels)
        self.norm: nn.Module = nn.LayerNorm(self.num_features)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self.apply(init_weights)

    @property
    def _levels(self) -> nn.ModuleList:
        levels = self.get_submodule(self.levels_name)
        assert isinstance(levels, nn.ModuleList)
        return levels

    def no_weight_decay(self) -> set[str]:
        """Names the parameters that weight decay leaves out: the positional biases."""
        return {name for name, _ in self.named_parameters() if name.endswith(".rpb")}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Says how the parameters are grouped: by level, or else by block."""
        name = self.levels_name
        by_block = [
            (rf"^{name}\.(\d+)\.blocks\.(\d+)", None),
            (rf"^{name}\.(\d+)\.downsample", (9999,)),
            (r"^norm", (99999,)),
        ]
        return {"stem": r"^patch_embed", "blocks": rf"^{name}\.(\d+)" if coarse else by_block}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Computes blocks once more in the backward pass instead of keeping what is within them."""
        for level in self._levels:
            assert isinstance(level, Level)
            level.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Returns the last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Gives the model a new head; 0 classes none."""
        self.num_classes = num_classes
        self.global_pool = self.global_pool if global_pool is None else global_pool
        place = next(self.parameters())
        self.head = nn.Identity()
        if num_classes > 0:
            self.head = nn.Linear(self.num_features, num_classes, device=place.device, dtype=place.dtype)
            self.head.apply(init_weights)

    def forward_intermediates(  # noqa: PLR0913 - the interface is timm's
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Returns the levels' outputs besides the features, as timm's models do.

        Args:
            x: images (B, 3, S, S).
            indices: which levels; a number takes that many last ones, None all.
            norm: whether the last level's output is normalised.
            stop_early: whether to stop after the last level asked for.
            output_fmt: `NCHW` or `NHWC`.
            intermediates_only: whether to leave out the features.
        """
        taken, last = feature_take_indices(len(self._levels), indices)
        found = []
        x = self.patch_embed(x)
        for index, level in enumerate(self._levels):
            if stop_early and index > last:
                break
            own, x = level(x)
            if index in taken:
                own = self.norm(own) if norm and index == len(self._levels) - 1 else own
                found.append(own.permute(0, 3, 1, 2).contiguous() if output_fmt == "NCHW" else own)
        return found if intermediates_only else (self.norm(x), found)

    def prune_intermediate_layers(
        self, indices: int | list[int] | None = None, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what no level asked for needs; returns the levels that stay."""
        taken, last = feature_take_indices(len(self._levels), indices)
        setattr(self, self.levels_name, self._levels[: last + 1])
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return list(taken)

    def forward_features(self, x: Tensor) -> Tensor:
        """Returns normalised features (B, H, W, C) of images (B, 3, S, S)."""
        x = self.patch_embed(x)
        for level in self._levels:
            _, x = level(x)
        features: Tensor = self.norm(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns scores (B, num_classes) of features (B, H, W, C); pooled features (B, C) before the last layer."""
        if self.global_pool == "avg":
            x = x.mean(dim=(1, 2))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns scores (B, num_classes) of images (B, 3, S, S); S is any size from 32 on."""
        return self.forward_head(self.forward_features(x))


def _fitting(dilations: Sequence[Sequence[int]] | None, depths: Sequence[int]) -> Sequence[Sequence[int]]:
    """Returns a dilation for each block: a level's are repeated over its blocks, or cut off where it has fewer."""
    given = dilations or [[1]] * len(depths)
    return [[level[index % len(level)] for index in range(depth)] for level, depth in zip(given, depths, strict=True)]

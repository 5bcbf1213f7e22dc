"""MetaFormer for timm, as in fine-grained recognition: convolutions, then attention over pixels, date and place.

Diao et al., "MetaFormer: A Unified Meta Framework for Fine-Grained Recognition", 2022 (not the CAFormer family).
Configurations and the names of parameters are those of dqshuai/MetaFormer (`models/MetaFG.py`,
`models/MetaFG_meta.py`, MIT). `metafg_0` .. `metafg_2` see images alone; `metafg_meta_0` .. `metafg_meta_2` take
metadata as well, which becomes two more tokens in each attention stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import Mlp, calculate_drop_path_rates, trunc_normal_
from timm.models import build_model_with_cfg, checkpoint, generate_default_cfgs, register_model
from torch import Tensor, nn

from sweeper.backbones.metaformer_blocks import AttentionBlock, ConvBlock, MetadataEncoder

METADATA_PARTS: Final = (4, 3)
"""How the seven numbers of an image's metadata fall into tokens: month and hour, and the place."""
_STRIDE: Final = 32


class MetaFormer(nn.Module):
    """A stem, two stages of convolutions, two of attention; the class tokens of both attention stages are joined.

    Args of the constructor reach users as `backbone_args`.

    Args:
        img_size: side of the images in pixels, a multiple of 32; the tables of relative positions depend on it.
        num_classes: width of the head; 0 gives features instead of scores.
        in_chans: channels of the images.
        conv_dims: channels of the stem and of the two stages of convolutions.
        attn_dims: channels of the two attention stages.
        depths: blocks of the four stages.
        num_heads: of the attention.
        mlp_ratio: expansion in both kinds of blocks.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0.
        metadata: whether the model takes metadata.
    """

    def __init__(  # noqa: PLR0913 - timm's models take their whole configuration here
        self,
        *,
        img_size: int | tuple[int, int] = 224,
        num_classes: int = 1000,
        in_chans: int = 3,
        conv_dims: Sequence[int] = (64, 96, 192),
        attn_dims: Sequence[int] = (384, 768),
        depths: Sequence[int] = (2, 3, 5, 2),
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        metadata: bool = False,
    ) -> None:
        super().__init__()
        side = img_size if isinstance(img_size, int) else img_size[0]
        if side % _STRIDE:
            raise ValueError(f"the image size must be a multiple of {_STRIDE}")
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = attn_dims[-1]
        self.takes_metadata = metadata
        self.grad_checkpointing = False
        widths = [*conv_dims, *attn_dims]
        self.feature_info = [
            {"num_chs": widths[stage], "reduction": 2 * 2**stage, "module": f"stage_{stage}"} for stage in range(1, 5)
        ]
        self.stage_0 = _stem(in_chans, conv_dims[0])
        self.bn1 = nn.BatchNorm2d(conv_dims[0])
        self.act1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        conv = partial(ConvBlock, ratio=mlp_ratio)
        tokens = 1 + (len(METADATA_PARTS) if metadata else 0)
        attention = partial(AttentionBlock, num_heads=num_heads, tokens=tokens, ratio=mlp_ratio)
        self.stage_1 = _stage(widths[0], widths[1], partial(conv, stride=1), conv, rates=rates[0])
        self.stage_2 = _stage(widths[1], widths[2], partial(conv, stride=2), conv, rates=rates[1])
        self._sides = {3: side // 16, 4: side // 32}
        for stage, map_side in self._sides.items():
            first, rest = (partial(attention, side=map_side, embeds=embeds) for embeds in (True, False))
            blocks = _stage(widths[stage - 1], widths[stage], first, rest, rates=rates[stage - 1])
            self.add_module(f"stage_{stage}", blocks)
        for stage, dim in enumerate(attn_dims, start=1):
            self.register_parameter(f"cls_token_{stage}", nn.Parameter(torch.zeros(1, 1, dim)))
            for part, width in enumerate(METADATA_PARTS if metadata else (), start=1):
                self.add_module(f"meta_{part}_head_{stage}", MetadataEncoder(width, dim))
        early, last = attn_dims
        self.norm_1, self.norm_2, self.norm = nn.LayerNorm(early), nn.LayerNorm(last), nn.LayerNorm(last)
        self.cl_1_fc = nn.Sequential(Mlp(early, out_features=last), nn.LayerNorm(last))
        self.aggregate = nn.Conv1d(2, 1, 1)
        self.head = nn.Linear(last, num_classes) if num_classes > 0 else nn.Identity()
        self.apply(_init_weights)
        for name, parameter in self.named_parameters():
            if name.startswith("cls_token") or name.endswith("relative_position_bias_table"):
                trunc_normal_(parameter, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """Names the parameters that weight decay leaves out: class tokens and tables of positions."""
        tables = {name for name, _ in self.named_parameters() if name.endswith("relative_position_bias_table")}
        return {"cls_token_1", "cls_token_2", *tables}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Says how the parameters are grouped: by stage, or else by block; tokens belong where they come in."""
        block = r"^stage_([1-4])" if coarse else r"^stage_([1-4])\.(\d+)"
        tokens = [(rf"^(?:cls_token_{n}|meta_\d_head_{n})", (n + 2,) if coarse else (n + 2, 0)) for n in (1, 2)]
        return {"stem": r"^stage_0|^bn1", "blocks": [(block, None), *tokens]}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Computes blocks once more in the backward pass instead of keeping what is within them."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Returns the last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Gives the model a new head; 0 classes none. The class tokens pool, whatever `global_pool` says."""
        self.num_classes = num_classes
        place = next(self.parameters())
        self.head = nn.Identity()
        if num_classes > 0:
            self.head = nn.Linear(self.num_features, num_classes, device=place.device, dtype=place.dtype)
            self.head.apply(_init_weights)

    def forward_features(self, x: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Returns (B, C): both class tokens, joined.

        Args:
            x: images (B, 3, img_size, img_size).
            metadata: (B, 7), zeros for what is missing; None is all zeros.
        """
        x = self.maxpool(self.act1(self.bn1(self.stage_0(x))))
        for stage in (1, 2):
            for block in self._blocks(stage):
                x = self._run(block, x)
        x, early = self._attend(3, x, metadata)
        _, late = self._attend(4, x, metadata)
        both = torch.cat([self.cl_1_fc(self.norm_1(early)), self.norm_2(late)], dim=1)
        joined: Tensor = self.norm(self.aggregate(both).squeeze(1))
        return joined

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns scores (B, num_classes) of features (B, C)."""
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Returns scores (B, num_classes) of images (B, 3, img_size, img_size), with metadata (B, 7) or without."""
        return self.forward_head(self.forward_features(x, metadata))

    def _blocks(self, stage: int) -> nn.ModuleList:
        blocks = self.get_submodule(f"stage_{stage}")
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    def _run(self, block: nn.Module, *inputs: Any) -> Tensor:
        result: Tensor = checkpoint(block, *inputs) if self.grad_checkpointing else block(*inputs)
        return result

    def _attend(self, stage: int, x: Tensor, metadata: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the map (B, C, H, W) and the class token (B, 1, C) after an attention stage."""
        extra = self._tokens(stage - 2, x, metadata)
        first, *rest = self._blocks(stage)
        tokens = self._run(first, x, extra)
        for block in rest:
            tokens = self._run(block, tokens)
        pixels = tokens[:, -(self._sides[stage] ** 2) :]
        return pixels.transpose(1, 2).reshape(x.shape[0], -1, *[self._sides[stage]] * 2), tokens[:, :1]

    def _tokens(self, number: int, x: Tensor, metadata: Tensor | None) -> Tensor:
        """Returns what stands before the pixels in attention stage `number`, (B, tokens, C): class, then metadata."""
        tokens = [getattr(self, f"cls_token_{number}").expand(x.shape[0], -1, -1)]
        if self.takes_metadata:
            known = x.new_zeros(x.shape[0], sum(METADATA_PARTS)) if metadata is None else metadata
            for part, width in enumerate(METADATA_PARTS, start=1):
                values = known[:, sum(METADATA_PARTS[: part - 1]) :][:, :width]
                tokens.append(self.get_submodule(f"meta_{part}_head_{number}")(values).unsqueeze(1))
        return torch.cat(tokens, dim=1)


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors of a published file for `model`, tables of relative positions resized to its image size."""
    tensors = dict(state_dict.get("model", state_dict))
    wanted = model.state_dict()
    for name in list(tensors):
        if name.endswith("relative_position_index"):
            del tensors[name]  # follows from the image size
        elif name.endswith("relative_position_bias_table") and name in wanted:
            tensors[name] = _resized(tensors[name], rows=wanted[name].shape[0])
    return tensors


def _resized(table: Tensor, *, rows: int) -> Tensor:
    """Returns a table (side x side + 1, heads) for maps of another size; the last row is of no position."""
    if table.shape[0] == rows:
        return table
    old, new = round((table.shape[0] - 1) ** 0.5), round((rows - 1) ** 0.5)
    grid = table[:-1].T.reshape(1, -1, old, old).float()
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([grid.flatten(2)[0].T.to(table.dtype), table[-1:]])


def _stage(
    dim: int, out_dim: int, first: Callable[..., nn.Module], rest: Callable[..., nn.Module], *, rates: Sequence[float]
) -> nn.ModuleList:
    """Returns the blocks of a stage: the first changes width and resolution, the rest keep them."""
    begun = first(dim, out_dim, drop_path=rates[0])
    return nn.ModuleList([begun, *(rest(out_dim, out_dim, drop_path=rate) for rate in rates[1:])])


def _stem(in_chans: int, dim: int) -> nn.Sequential:
    middle = 3 * (dim // 4)
    return nn.Sequential(
        nn.Conv2d(in_chans, middle, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, dim, 3, padding=1, bias=False),
        nn.BatchNorm2d(dim),
        nn.ReLU(),
        nn.Conv2d(dim, dim, 3, padding=1, bias=False),
    )


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _cfg() -> dict[str, Any]:
    return {
        "url": "",  # on a private drive; docs/backbones.md says where
        "license": "mit",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "fixed_input_size": True,
        "pool_size": None,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stage_0.0",
        "classifier": "head",
    }


_NAMES = [f"metafg_{kind}{number}" for kind in ("", "meta_") for number in range(3)]
default_cfgs = generate_default_cfgs({name: _cfg() for name in _NAMES})
_SMALL = {"conv_dims": (64, 96, 192), "attn_dims": (384, 768)}
_LARGE = {"conv_dims": (128, 128, 256), "attn_dims": (512, 1024)}
_SHALLOW, _DEEP = {"depths": (2, 3, 5, 2)}, {"depths": (2, 6, 14, 2)}


def _create(name: str, pretrained: bool, **arguments: Any) -> MetaFormer:
    model: MetaFormer = build_model_with_cfg(
        MetaFormer, name, pretrained, pretrained_filter_fn=checkpoint_filter_fn, **arguments
    )
    return model


@register_model  # type: ignore[untyped-decorator]  # timm ships no types
def metafg_0(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """MetaFormer-0, images alone."""
    return _create("metafg_0", pretrained, **_SMALL | _SHALLOW | kwargs)


@register_model  # type: ignore[untyped-decorator]
def metafg_1(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """MetaFormer-1, images alone."""
    return _create("metafg_1", pretrained, **_SMALL | _DEEP | kwargs)


@register_model  # type: ignore[untyped-decorator]
def metafg_2(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """MetaFormer-2, images alone."""
    return _create("metafg_2", pretrained, **_LARGE | _DEEP | kwargs)


@register_model  # type: ignore[untyped-decorator]
def metafg_meta_0(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """MetaFormer-0 with metadata."""
    return _create("metafg_meta_0", pretrained, **_SMALL | _SHALLOW | {"metadata": True} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def metafg_meta_1(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """MetaFormer-1 with metadata."""
    return _create("metafg_meta_1", pretrained, **_SMALL | _DEEP | {"metadata": True} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def metafg_meta_2(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """MetaFormer-2 with metadata."""
    return _create("metafg_meta_2", pretrained, **_LARGE | _DEEP | {"metadata": True} | kwargs)

"""DiNAT_s for timm: Swin's patches and downsampling with dilated neighbourhood attention between them.

Hassani and Shi, "Dilated Neighborhood Attention Transformer", 2022; configurations and checkpoint addresses are
those of SHI-Labs/Neighborhood-Attention-Transformer (`classification/dinats.py`, MIT).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from sweeper.backbones.nat_checkpoints import checkpoint_filter_fn
from sweeper.backbones.nat_network import NeighborhoodTransformer

__all__ = ["DiNATs", "checkpoint_filter_fn"]


class PatchEmbed(nn.Module):
    """Patches of 4 x 4 pixels: images (B, 3, S, S) to (B, S/4, S/4, C)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, 4, stride=4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, H, W, C); an image is filled up at the right and the bottom to whole patches."""
        x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        embedded: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return embedded


class PatchMerging(nn.Module):
    """Each 2 x 2 pixels become one: (B, H, W, C) to (B, H/2, W/2, 2C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the smaller map; one of odd size is filled up with zeros first."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        smaller: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return smaller


class DiNATs(NeighborhoodTransformer):
    """DiNAT_s."""

    levels_name = "layers"
    embedding = PatchEmbed
    downsampling = PatchMerging


_URL = "https://shi-labs.com/projects/dinat/checkpoints/imagenet1k"
_DILATIONS_224 = ((1, 8), (1, 4), (1, 2), (1,))
_DILATIONS_384 = ((1, 13), (1, 6), (1, 3), (1,))


def _cfg(file: str, *, size: int = 224) -> dict[str, Any]:
    return {
        "url": f"{_URL}/{file}",
        "license": "mit",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": (size // 32, size // 32),
        "crop_pct": 0.875 if size == 224 else 1.0,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }


default_cfgs = generate_default_cfgs(
    {
        "dinat_s_tiny.shi_in1k": _cfg("dinat_s_tiny_in1k_224.pth"),
        "dinat_s_small.shi_in1k": _cfg("dinat_s_small_in1k_224.pth"),
        "dinat_s_base.shi_in1k": _cfg("dinat_s_base_in1k_224.pth"),
        "dinat_s_large.shi_in22k_ft_in1k": _cfg("dinat_s_large_in1k_224.pth"),
        "dinat_s_large_384.shi_in22k_ft_in1k": _cfg("dinat_s_large_in1k_384.pth", size=384),
    }
)

_TINY = {"depths": (2, 2, 6, 2), "embed_dim": 96, "num_heads": (3, 6, 12, 24), "mlp_ratio": 4.0}
_SMALL = {"depths": (2, 2, 18, 2), "embed_dim": 96, "num_heads": (3, 6, 12, 24), "mlp_ratio": 4.0}
_BASE = {"depths": (2, 2, 18, 2), "embed_dim": 128, "num_heads": (4, 8, 16, 32), "mlp_ratio": 4.0}
_LARGE = {"depths": (2, 2, 18, 2), "embed_dim": 192, "num_heads": (6, 12, 24, 48), "mlp_ratio": 4.0}


def _create(name: str, pretrained: bool, **arguments: Any) -> DiNATs:
    model: DiNATs = build_model_with_cfg(
        DiNATs,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **arguments,
    )
    return model


@register_model  # type: ignore[untyped-decorator]  # timm ships no types
def dinat_s_tiny(pretrained: bool = False, **kwargs: Any) -> DiNATs:
    """DiNAT_s-Tiny: 28.3 M parameters."""
    return _create("dinat_s_tiny", pretrained, **_TINY | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_s_small(pretrained: bool = False, **kwargs: Any) -> DiNATs:
    """DiNAT_s-Small."""
    return _create("dinat_s_small", pretrained, **_SMALL | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_s_base(pretrained: bool = False, **kwargs: Any) -> DiNATs:
    """DiNAT_s-Base."""
    return _create("dinat_s_base", pretrained, **_BASE | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_s_large(pretrained: bool = False, **kwargs: Any) -> DiNATs:
    """DiNAT_s-Large at 224 px."""
    return _create("dinat_s_large", pretrained, **_LARGE | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_s_large_384(pretrained: bool = False, **kwargs: Any) -> DiNATs:
    """DiNAT_s-Large at 384 px."""
    return _create("dinat_s_large_384", pretrained, **_LARGE | {"dilations": _DILATIONS_384} | kwargs)

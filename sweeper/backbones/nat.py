"""NAT and DiNAT for timm: `timm.create_model("nat_mini")`.

Hassani et al., "Neighborhood Attention Transformer", CVPR 2023; Hassani and Shi, "Dilated Neighborhood Attention
Transformer", 2022. Configurations and checkpoint addresses are those of SHI-Labs/Neighborhood-Attention-Transformer
(`classification/nat.py`, `classification/dinat.py`, MIT). The two differ in their dilations alone.
"""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from sweeper.backbones.nat_checkpoints import checkpoint_filter_fn
from sweeper.backbones.nat_network import NeighborhoodTransformer

__all__ = ["NAT", "checkpoint_filter_fn"]


class ConvTokenizer(nn.Module):
    """Two convolutions of stride 2 without an activation between them: images (B, 3, S, S) to (B, S/4, S/4, C)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(in_chans, dim // 2, 3, stride=2, padding=1), nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, H, W, C)."""
        embedded: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return embedded


class ConvDownsampler(nn.Module):
    """A convolution of stride 2: (B, H, W, C) to (B, H/2, W/2, 2C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the smaller map."""
        smaller: Tensor = self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return smaller


class NAT(NeighborhoodTransformer):
    """NAT, and with dilations DiNAT."""

    embedding = ConvTokenizer
    downsampling = ConvDownsampler


_NAT = "https://shi-labs.com/projects/nat/checkpoints/CLS"
_DINAT = "https://shi-labs.com/projects/dinat/checkpoints/imagenet1k"
_DILATIONS_224 = ((1, 8), (1, 4), (1, 2), (1,))
"""As far apart as the maps of 224 px images allow: 8 x 7 = 56."""
_DILATIONS_384 = ((1, 13), (1, 6), (1, 3), (1,))


def _cfg(url: str, *, size: int = 224, **extra: Any) -> dict[str, Any]:
    return {
        "url": url,
        "license": "mit",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": (size // 32, size // 32),
        "crop_pct": 0.875 if size == 224 else 1.0,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.proj.0",
        "classifier": "head",
        **extra,
    }


default_cfgs = generate_default_cfgs(
    {
        "nat_mini.shi_in1k": _cfg(f"{_NAT}/nat_mini.pth", hf_hub_id="shi-labs/nat-mini-in1k-224"),
        "nat_tiny.shi_in1k": _cfg(f"{_NAT}/nat_tiny.pth"),
        "nat_small.shi_in1k": _cfg(f"{_NAT}/nat_small.pth"),
        "nat_base.shi_in1k": _cfg(f"{_NAT}/nat_base.pth"),
        "dinat_mini.shi_in1k": _cfg(f"{_DINAT}/dinat_mini_in1k_224.pth", hf_hub_id="shi-labs/dinat-mini-in1k-224"),
        "dinat_tiny.shi_in1k": _cfg(f"{_DINAT}/dinat_tiny_in1k_224.pth"),
        "dinat_small.shi_in1k": _cfg(f"{_DINAT}/dinat_small_in1k_224.pth"),
        "dinat_base.shi_in1k": _cfg(f"{_DINAT}/dinat_base_in1k_224.pth"),
        "dinat_large.shi_in22k_ft_in1k": _cfg(f"{_DINAT}/dinat_large_in22k_in1k_224.pth"),
        "dinat_large_384.shi_in22k_ft_in1k": _cfg(f"{_DINAT}/dinat_large_in22k_in1k_384.pth", size=384),
        "dinat_large_384_11x11.shi_in22k_ft_in1k": _cfg(f"{_DINAT}/dinat_large_in22k_in1k_384_11x11.pth", size=384),
    }
)

_MINI = {"depths": (3, 4, 6, 5), "embed_dim": 64, "num_heads": (2, 4, 8, 16), "mlp_ratio": 3.0}
_TINY = {"depths": (3, 4, 18, 5), "embed_dim": 64, "num_heads": (2, 4, 8, 16), "mlp_ratio": 3.0}
_SMALL = {"depths": (3, 4, 18, 5), "embed_dim": 96, "num_heads": (3, 6, 12, 24), "mlp_ratio": 2.0}
_BASE = {"depths": (3, 4, 18, 5), "embed_dim": 128, "num_heads": (4, 8, 16, 32), "mlp_ratio": 2.0}
_LARGE = {"depths": (3, 4, 18, 5), "embed_dim": 192, "num_heads": (6, 12, 24, 48), "mlp_ratio": 2.0}
_SCALED = {"layer_scale": 1e-5}


def _create(name: str, pretrained: bool, **arguments: Any) -> NAT:
    model: NAT = build_model_with_cfg(
        NAT,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **arguments,
    )
    return model


@register_model  # type: ignore[untyped-decorator]  # timm ships no types
def nat_mini(pretrained: bool = False, **kwargs: Any) -> NAT:
    """NAT-Mini: 20.0 M parameters, 81.8 % top-1 on ImageNet-1k."""
    return _create("nat_mini", pretrained, **_MINI | kwargs)


@register_model  # type: ignore[untyped-decorator]
def nat_tiny(pretrained: bool = False, **kwargs: Any) -> NAT:
    """NAT-Tiny: 27.9 M parameters, 83.2 % top-1 on ImageNet-1k."""
    return _create("nat_tiny", pretrained, **_TINY | kwargs)


@register_model  # type: ignore[untyped-decorator]
def nat_small(pretrained: bool = False, **kwargs: Any) -> NAT:
    """NAT-Small: 50.7 M parameters, 83.7 % top-1 on ImageNet-1k."""
    return _create("nat_small", pretrained, **_SMALL | _SCALED | kwargs)


@register_model  # type: ignore[untyped-decorator]
def nat_base(pretrained: bool = False, **kwargs: Any) -> NAT:
    """NAT-Base: 89.8 M parameters, 84.3 % top-1 on ImageNet-1k."""
    return _create("nat_base", pretrained, **_BASE | _SCALED | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_mini(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Mini: 20.0 M parameters, 81.8 % top-1 on ImageNet-1k."""
    return _create("dinat_mini", pretrained, **_MINI | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_tiny(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Tiny: 27.9 M parameters, 82.7 % top-1 on ImageNet-1k."""
    return _create("dinat_tiny", pretrained, **_TINY | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_small(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Small, unlike NAT-Small without layer scale: 83.8 % top-1 on ImageNet-1k."""
    return _create("dinat_small", pretrained, **_SMALL | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_base(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Base: 89.8 M parameters, 84.4 % top-1 on ImageNet-1k."""
    return _create("dinat_base", pretrained, **_BASE | _SCALED | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_large(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Large at 224 px: 200.9 M parameters."""
    return _create("dinat_large", pretrained, **_LARGE | {"dilations": _DILATIONS_224} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_large_384(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Large at 384 px, with the dilations that its larger maps allow."""
    return _create("dinat_large_384", pretrained, **_LARGE | {"dilations": _DILATIONS_384} | kwargs)


@register_model  # type: ignore[untyped-decorator]
def dinat_large_384_11x11(pretrained: bool = False, **kwargs: Any) -> NAT:
    """DiNAT-Large at 384 px with windows of 11 x 11 pixels."""
    arguments = _LARGE | {"dilations": _DILATIONS_224, "kernel_size": 11}
    return _create("dinat_large_384_11x11", pretrained, **arguments | kwargs)

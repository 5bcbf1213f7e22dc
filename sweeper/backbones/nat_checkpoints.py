"""The two layouts in which NAT, DiNAT and DiNAT_s weights are published become the one our networks have.

The authors' files have our names. The Hugging Face hub's keep queries, keys and values apart, both scales of a
block together, and call most things differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

_HUB_PREFIX: Final = re.compile(r"^(nat|dinat)\.")
_HUB_NAMES: Final = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.levels\.(\d+)\.downsample\.", r"levels.\1.downsample."),
    (r"^encoder\.levels\.(\d+)\.layers\.(\d+)\.", r"levels.\1.blocks.\2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.rpb$", ".attn.rpb"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(levels\.\d+\.blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_PART: Final = re.compile(r"^(.*)\.attention\.self\.(query|key|value)\.(weight|bias)$")
_SCALES: Final = re.compile(r"^(.*)\.layer_scale_parameters$")


def checkpoint_filter_fn(
    state_dict: Mapping[str, Tensor],
    model: nn.Module,  # noqa: ARG001 - timm passes it
) -> dict[str, Tensor]:
    """Returns the tensors under our names; what belongs to neither layout keeps its name, for the loader to report.

    Args:
        state_dict: of a published file, or of our own.
        model: what they are for; both layouts say all that is needed.
    """
    tensors = {_HUB_PREFIX.sub("", name): tensor for name, tensor in state_dict.items()}
    if not any(name.startswith("encoder.levels.") for name in tensors):
        return tensors
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, scales = _PART.match(name), _SCALES.match(name)
        if scales:
            block = _renamed(f"{scales[1]}.")
            ours[f"{block}gamma1"], ours[f"{block}gamma2"] = tensor.unbind()
        elif part is None:
            ours[_renamed(name)] = tensor
        elif part[2] == "query":
            keys = (f"{part[1]}.attention.self.{kind}.{part[3]}" for kind in ("query", "key", "value"))
            present = [tensors[key] for key in keys if key in tensors]
            ours[f"{_renamed(f'{part[1]}.')}attn.qkv.{part[3]}"] = torch.cat(present)
    return ours


def _renamed(name: str) -> str:
    for pattern, replacement in _HUB_NAMES:
        name = re.sub(pattern, replacement, name)
    return name

"""NAT, DiNAT and DiNAT_s: the published numbers, the published files, and what timm's own models can do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sweeper.backbones import build_backbone
from sweeper.backbones.nat_block import NeighborhoodAttention
from sweeper.backbones.nat_checkpoints import checkpoint_filter_fn
from sweeper.errors import BackboneError
from sweeper.spec.trial import TrialConfig

TINY: dict[str, Any] = {"depths": (1, 2, 1, 1), "embed_dim": 16, "num_heads": (1, 2, 4, 8), "kernel_size": 3}
FAMILIES = pytest.mark.parametrize("name", ["nat_mini", "dinat_mini", "dinat_s_tiny"])


def tiny(name: str, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **{**TINY, "num_classes": 5, **more})
    return model.eval()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("nat_mini", 19_984_174), ("dinat_mini", 19_984_174), ("nat_tiny", 27_901_582), ("dinat_tiny", 27_901_582),
        ("nat_small", 50_743_297), ("dinat_small", 50_719_681), ("nat_base", 89_769_652), ("dinat_base", 89_769_652),
        ("dinat_large", 200_943_514), ("dinat_s_tiny", 28_288_354),
    ],
)  # fmt: skip
def test_the_parameters_are_as_many_as_published(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert count(timm.create_model(name)) == parameters


def test_dilations_are_those_of_the_published_networks() -> None:
    with torch.device("meta"):
        mini, larger = timm.create_model("dinat_mini"), timm.create_model("dinat_large_384")
    found = [[block.attn.dilation for block in level.blocks] for level in mini.levels]
    assert found == [[1, 8, 1], [1, 4, 1, 4], [1, 2] * 3, [1] * 5]
    assert [max(block.attn.dilation for block in level.blocks) for level in larger.levels] == [13, 6, 3, 1]


@FAMILIES
@pytest.mark.parametrize("size", [(64, 64), (57, 71), (32, 96)])
def test_images_of_any_size_run(name: str, size: tuple[int, int]) -> None:
    assert tiny(name)(torch.randn(2, 3, *size)).shape == (2, 5)


def test_a_map_smaller_than_the_dilated_window_is_filled_up_and_cut_back() -> None:
    attention = tiny("dinat_mini").get_submodule("levels.1.blocks.1.attn")
    assert isinstance(attention, NeighborhoodAttention)
    assert (attention.kernel_size, attention.dilation) == (3, 4)
    small = torch.randn(1, 5, 20, 32)
    filled = torch.zeros(1, 12, 20, 32)
    filled[:, :5] = small
    torch.testing.assert_close(attention(small), attention(filled)[:, :5])


@FAMILIES
def test_features_of_every_level_are_to_be_had(name: str) -> None:
    features = timm.create_model(name, features_only=True, **TINY)
    shapes = [tuple(level.shape) for level in features(torch.randn(1, 3, 64, 64))]
    assert shapes == [(1, 16, 16, 16), (1, 32, 8, 8), (1, 64, 4, 4), (1, 128, 2, 2)]
    assert features.feature_info.reduction() == [4, 8, 16, 32]


@FAMILIES
def test_the_head_can_be_reset_and_taken_off(name: str) -> None:
    model: Any = tiny(name)
    images = torch.randn(2, 3, 64, 64)
    assert model.get_classifier().out_features == 5
    model.reset_classifier(7)
    assert model(images).shape == (2, 7)
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), pooled)
    model.reset_classifier(0, "")
    assert model(images).shape == (2, 2, 2, model.num_features)


@FAMILIES
def test_checkpointing_changes_memory_and_not_gradients(name: str) -> None:
    images = torch.randn(2, 3, 64, 64)
    gradients: list[list[Tensor]] = []
    for enable in (False, True):
        model: Any = tiny(name)
        model.set_grad_checkpointing(enable)
        loss = model(images).square().sum()
        gradients.append(list(torch.autograd.grad(loss, list(model.parameters()))))
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_biases_of_position_are_not_decayed() -> None:
    model: Any = tiny("nat_mini")
    assert len(model.no_weight_decay()) == sum(TINY["depths"])
    assert all(name.endswith(".attn.rpb") for name in model.no_weight_decay())


def hub_layout(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What the Hugging Face hub calls the tensors of the published files (its converter, read the other way)."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        hub = re.sub(r"^levels\.(\d+)\.blocks\.(\d+)\.", r"encoder.levels.\1.layers.\2.", name)
        hub = re.sub(r"^levels\.(\d+)\.downsample\.", r"encoder.levels.\1.downsample.", hub)
        for old, new in (
            ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
            ("patch_embed.norm.", "embeddings.norm."),
            (".norm1.", ".layernorm_before."),
            (".norm2.", ".layernorm_after."),
            (".attn.rpb", ".attention.self.rpb"),
            (".attn.proj.", ".attention.output.dense."),
            (".mlp.fc1.", ".intermediate.dense."),
            (".mlp.fc2.", ".output.dense."),
        ):
            hub = hub.replace(old, new)
        if name.startswith("norm."):
            renamed[f"{prefix}.layernorm.{name.removeprefix('norm.')}"] = tensor
        elif name.startswith("head."):
            renamed[f"classifier.{name.removeprefix('head.')}"] = tensor
        elif ".attn.qkv." in hub:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[f"{prefix}.{hub.replace('.attn.qkv.', f'.attention.self.{part}.')}"] = third
        elif name.endswith("gamma1"):
            both = torch.stack([tensor, tensors[name.replace("gamma1", "gamma2")]])
            renamed[f"{prefix}.{hub.replace('gamma1', 'layer_scale_parameters')}"] = both
        elif not name.endswith("gamma2"):
            renamed[f"{prefix}.{hub}"] = tensor
    return renamed


@pytest.mark.parametrize(("name", "prefix"), [("nat_mini", "nat"), ("dinat_mini", "dinat")])
@pytest.mark.parametrize("layer_scale", [None, 1e-5])
def test_weights_in_the_hubs_layout_become_ours(name: str, prefix: str, layer_scale: float | None) -> None:
    model = tiny(name, layer_scale=layer_scale)
    hub = hub_layout(model.state_dict(), prefix)
    # 253 tensors in the authors' files of the mini networks, 325 on the hub: keys, queries and values are apart.
    assert len(hub) > len(model.state_dict()) - 2 * (layer_scale is not None) * sum(TINY["depths"])
    converted = checkpoint_filter_fn(hub, model)
    assert converted.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, converted[key]) for key, tensor in model.state_dict().items())


def test_the_mini_networks_have_the_published_number_of_tensors() -> None:
    with torch.device("meta"):
        state = timm.create_model("nat_mini").state_dict()
    assert len(state) == 253
    assert len(hub_layout(state, "nat")) == 325


@pytest.mark.parametrize("layout", ["authors", "hub"])
def test_a_file_in_either_layout_is_loaded_whole(
    layout: str, make_config: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    source = tiny("dinat_mini", num_classes=1000)
    tensors = source.state_dict() if layout == "authors" else hub_layout(source.state_dict(), "dinat")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    config = make_config(backbone="dinat_mini", backbone_args=TINY, image_size=64)
    loaded = build_backbone(config, num_classes=3, weights=tmp_path / "model.safetensors").model.state_dict()
    for name, tensor in source.state_dict().items():
        assert name.startswith("head.") or torch.equal(tensor, loaded[name])


def test_a_file_that_does_not_fit_says_what_does_not(make_config: Callable[..., TrialConfig], tmp_path: Path) -> None:
    tensors = tiny("nat_mini").state_dict()
    del tensors["levels.0.blocks.0.attn.rpb"]
    tensors["levels.9.blocks.0.norm1.weight"] = torch.zeros(16)
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    message = (
        f"Weights must fit the backbone they are loaded into, but those of `{file}` do not fit `NAT` (missing: 1, as "
        "`levels.0.blocks.0.attn.rpb`; unknown to the model: 1, as `levels.9.blocks.0.norm1.weight`); check "
        "`backbone`, `backbone_args` and `weights`."
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        build_backbone(make_config(backbone="nat_mini", backbone_args=TINY, image_size=64), num_classes=5, weights=file)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"attention": "fast"}, "`attention` must be `portable` or `natten`, but is `fast`"),
        ({"attention": "natten"}, "natten's kernels have no relative positional bias; set `rel_pos_bias: false`"),
    ],
)
def test_an_attention_that_cannot_serve_is_refused(
    arguments: dict[str, Any], reason: str, make_config: Callable[..., TrialConfig]
) -> None:
    config = make_config(backbone="nat_mini", backbone_args={**TINY, **arguments}, image_size=64)
    with pytest.raises(BackboneError, match=re.escape(reason)):
        build_backbone(config, num_classes=3, weights=None)


def test_natten_can_compute_the_attention_where_there_is_no_bias() -> None:
    pytest.importorskip("natten", reason="natten is not installed")
    wide = {**TINY, "embed_dim": 32, "rel_pos_bias": False}
    ours, theirs = tiny("nat_mini", **wide), tiny("nat_mini", **wide, attention="natten")
    with torch.no_grad():  # on a CPU natten computes no gradients
        images = torch.randn(1, 3, 48, 48)
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=1e-4)

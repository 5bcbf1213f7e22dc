from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from sweeper.backbones import Backbone, build_backbone
from sweeper.errors import BackboneError
from sweeper.spec.trial import TrialConfig

MakeConfig = Callable[..., TrialConfig]


@pytest.fixture
def source(make_config: MakeConfig) -> Backbone:
    return build_backbone(make_config(seed=11), num_classes=3, weights=None)


def refusal(config: TrialConfig, weights: Path) -> str:
    with pytest.raises(BackboneError) as caught:
        build_backbone(config, num_classes=3, weights=weights)
    return str(caught.value)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_a_pytorch_file_loads_bare_or_as_training_scripts_save_it(
    make_config: MakeConfig, source: Backbone, tmp_path: Path, wrap: Callable[[object], object]
) -> None:
    file = tmp_path / "weights.pth"
    torch.save(wrap(source.model.state_dict()), file)
    loaded = build_backbone(make_config(), num_classes=3, weights=file).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in source.model.state_dict().items())


def test_position_embeddings_are_resized_to_the_image_size(
    make_config: MakeConfig, source: Backbone, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(source.model.state_dict(), file)
    larger = build_backbone(make_config(image_size=64), num_classes=3, weights=file).model
    assert larger.get_parameter("pos_embed").shape == (1, 1 + 4 * 4, 24)
    assert torch.equal(larger.get_parameter("cls_token"), source.model.get_parameter("cls_token"))
    assert torch.equal(larger.get_parameter("head.weight"), source.model.get_parameter("head.weight"))


# Both are from timm's own resizing. The second announces another result, so the values are checked here.
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
def test_bias_tables_are_resized_to_the_image_size(make_config: MakeConfig, tmp_path: Path) -> None:
    args = {"depths": [1, 1, 1, 1], "embed_dim": [32, 32, 32, 32], "stem_width": 8}
    smaller, larger = (
        make_config(backbone="maxvit_tiny_rw_224", backbone_args=args, image_size=size) for size in (64, 96)
    )
    file = tmp_path / "weights.safetensors"
    source = build_backbone(smaller, num_classes=3, weights=None).model
    name = "stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table"
    with torch.no_grad():
        source.get_parameter(name).copy_(torch.arange(9.0)[:, None])
    save_file(source.state_dict(), file)
    loaded = build_backbone(larger, num_classes=3, weights=file).model
    table = loaded.get_parameter(name).detach().reshape(5, 5)
    assert table[::2, ::2].flatten().tolist() == pytest.approx(list(range(9)), abs=1e-4)
    assert table[0].tolist() == sorted(table[0].tolist())


def test_a_file_of_another_network_is_refused_with_what_does_not_fit(
    make_config: MakeConfig, source: Backbone, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(source.model.state_dict(), file)
    deeper = make_config(backbone_args={"depth": 5, "embed_dim": 24, "num_heads": 2})
    assert refusal(deeper, file) == (
        f"Weights must fit the backbone they are loaded into, but those of `{file}` do not fit `VisionTransformer` "
        "(missing: 12, as `blocks.4.norm1.weight`, `blocks.4.norm1.bias`, `blocks.4.attn.qkv.weight`); check "
        "`backbone`, `backbone_args` and `weights`."
    )
    shallower = make_config(backbone_args={"depth": 3, "embed_dim": 24, "num_heads": 2})
    assert refusal(shallower, file) == (
        f"Weights must fit the backbone they are loaded into, but those of `{file}` do not fit `VisionTransformer` "
        "(unknown to the model: 12, as `blocks.3.attn.proj.bias`, `blocks.3.attn.proj.weight`, "
        "`blocks.3.attn.qkv.bias`); check `backbone`, `backbone_args` and `weights`."
    )
    slimmer = make_config(backbone_args={"depth": 4, "embed_dim": 24, "num_heads": 2, "mlp_ratio": 2})
    assert refusal(slimmer, file) == (
        f"Weights must fit the backbone they are loaded into, but those of `{file}` do not fit `VisionTransformer` "
        "(of another shape: 12, as `blocks.0.mlp.fc1.bias`, `blocks.0.mlp.fc1.weight`, `blocks.0.mlp.fc2.weight`); "
        "check `backbone`, `backbone_args` and `weights`."
    )


def test_a_file_that_the_familys_filter_cannot_convert_is_refused(
    make_config: MakeConfig, source: Backbone, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(source.model.state_dict(), file)
    config = make_config(backbone="convnext_atto", backbone_args={"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]})
    assert refusal(config, file) == (
        f"Weights must fit the backbone they are loaded into, but those of `{file}` cannot be converted for `ConvNeXt` "
        "('blocks.0.attn.proj.weight'); check `backbone`, `backbone_args` and `weights`."
    )


class Payload:
    """What a hostile file would run when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


def test_a_pickle_is_never_run(make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"head.weight": Payload()}, file)
    assert refusal(make_config(), file).startswith(
        f"A weights file must be safetensors, or PyTorch's with tensors only, but `{file}` cannot be read as one: "
        "weights_only=True blocked loading this checkpoint"
    )
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_damaged_file_is_refused(make_config: MakeConfig, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"not a tensor")
    assert refusal(make_config(), file).startswith(
        f"A weights file must be safetensors, or PyTorch's with tensors only, but `{file}` cannot be read as one: "
    )


def test_a_file_of_another_kind_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "weights.npz"
    file.write_bytes(b"")
    assert refusal(make_config(), file) == (
        "A weights file must end in one of .safetensors, .bin, .pth, .pt, .tar, .ckpt, but "
        f"`{file}` does not; save its tensors with `safetensors.torch.save_file`."
    )


def test_a_file_that_holds_more_than_tensors_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "weight": torch.zeros(1)}, file)
    assert refusal(make_config(), file) == (
        f"A weights file must hold named tensors and nothing else, but `{file}` does not; save `model.state_dict()`."
    )


def test_an_encoder_trained_on_tokens_begins_a_new_norm_where_features_are_pooled(
    make_config: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    """MAE's ViT-Huge, made small, from 224 px to 448 px."""
    small = {"depth": 2, "embed_dim": 48, "num_heads": 3}
    encoder = timm.create_model("vit_huge_patch14_224.mae", num_classes=0, **small)
    torch.nn.init.normal_(encoder.norm.weight)
    file = tmp_path / "mae.safetensors"
    save_file(encoder.state_dict(), file)
    config = make_config(
        backbone="vit_huge_patch14_224.mae", backbone_args=small | {"global_pool": "avg"}, image_size=448
    )
    loaded = build_backbone(config, num_classes=3, weights=file).model.state_dict()
    assert torch.equal(loaded["fc_norm.weight"], torch.ones(48))
    assert torch.equal(loaded["blocks.1.mlp.fc1.weight"], encoder.state_dict()["blocks.1.mlp.fc1.weight"])
    assert (encoder.pos_embed.shape[1], loaded["pos_embed"].shape[1]) == (16 * 16 + 1, 32 * 32 + 1)

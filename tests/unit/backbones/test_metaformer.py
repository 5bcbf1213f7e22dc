"""MetaFormer: the published numbers and files, and what its metadata does."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from sweeper.backbones import build_backbone
from sweeper.backbones.metaformer import checkpoint_filter_fn
from sweeper.backbones.metaformer_blocks import RelativeAttention
from sweeper.errors import BackboneError
from sweeper.spec.trial import TrialConfig

TINY = {"conv_dims": (8, 8, 16), "attn_dims": (16, 32), "depths": (1, 1, 2, 1), "num_heads": 2}


def tiny(name: str = "metafg_meta_0", **more: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, **{**TINY, "img_size": 64, "num_classes": 5, **more}).eval()


@pytest.mark.parametrize(
    ("name", "millions"), [("metafg_0", 28), ("metafg_1", 45), ("metafg_2", 81)]
)  # Diao et al., table 2
def test_the_parameters_are_as_many_as_published(name: str, millions: int) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert int(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


def test_metadata_that_is_missing_is_zero() -> None:
    model, images = tiny(), torch.randn(2, 3, 64, 64)
    assert torch.equal(model(images), model(images, torch.zeros(2, 7)))


def test_date_and_place_change_the_scores_each_by_itself() -> None:
    model, images = tiny(), torch.randn(1, 3, 64, 64)
    date, place = torch.zeros(1, 7), torch.zeros(1, 7)
    date[0, :2] = torch.tensor([0.5, 0.8])
    place[0, 4:] = torch.tensor([1.0, 0.0, 0.0])
    scores = [model(images, metadata) for metadata in (torch.zeros(1, 7), date, place, date + place)]
    for index, one in enumerate(scores):
        assert not any(torch.allclose(one, other, atol=1e-7) for other in scores[:index])


def test_a_plain_model_takes_images_alone(make_config: Callable[..., TrialConfig]) -> None:
    for name, takes in (("metafg_0", False), ("metafg_meta_0", True)):
        config = make_config(backbone=name, backbone_args=TINY, image_size=64)
        backbone = build_backbone(config, num_classes=3, weights=None)
        assert backbone.takes_metadata is takes
        assert backbone.model(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_tokens_belong_to_the_stage_they_come_in_at(make_config: Callable[..., TrialConfig]) -> None:
    config = make_config(backbone="metafg_meta_0", backbone_args=TINY, image_size=64)
    homes = {
        name: stage.name
        for stage in build_backbone(config, num_classes=3, weights=None).stages
        for name in stage.parameters
    }
    assert (homes["cls_token_1"], homes["meta_2_head_1.0.weight"], homes["stage_3.0.attn.qkv.weight"]) == (
        "stage3",
    ) * 3
    assert (homes["cls_token_2"], homes["meta_1_head_2.0.weight"], homes["aggregate.weight"]) == ("stage4",) * 3
    assert (homes["stage_0.0.weight"], homes["bn1.weight"], homes["head.weight"]) == ("stem", "stem", "head")


def test_relative_attention_is_what_two_loops_compute() -> None:
    torch.manual_seed(0)
    side, tokens, heads, dim = 3, 2, 2, 8
    attention = RelativeAttention(dim, side=side, num_heads=heads, tokens=tokens)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(1, tokens + side * side, dim)
    query, key, value = attention.qkv(x)[0].view(-1, 3, heads, dim // heads).unbind(1)
    result = torch.zeros(len(x[0]), dim)
    for head in range(heads):
        for one in range(len(x[0])):
            scores = []
            for other in range(len(x[0])):
                row = 0
                if min(one, other) >= tokens:
                    (y, x_), (v, u) = divmod(one - tokens, side), divmod(other - tokens, side)
                    row = (y - v + side - 1) * (2 * side - 1) + x_ - u + side - 1
                bias = attention.relative_position_bias_table[row, head]
                scores.append(query[one, head] @ key[other, head] / math.sqrt(dim // heads) + bias)
            weights = torch.stack(scores).softmax(0)
            result[one, head * dim // heads : (head + 1) * dim // heads] = weights @ value[:, head]
    torch.testing.assert_close(attention(x)[0], attention.proj(result), atol=1e-5, rtol=1e-4)


def published(model: Any) -> dict[str, Any]:
    """A file as the authors save it: wrapped, with the indices as buffers."""
    indices = {
        f"{name}.relative_position_index": module.relative_position_index
        for name, module in model.named_modules()
        if isinstance(module, RelativeAttention)
    }
    return {"model": {**model.state_dict(), **indices}}


def test_a_published_file_loads_at_its_own_image_size_and_at_another(
    make_config: Callable[..., TrialConfig], tmp_path: Path
) -> None:
    source = tiny()
    file = tmp_path / "metafg.pth"
    torch.save(published(source), file)
    for image_size, side in ((64, 4), (96, 6)):
        config = make_config(backbone="metafg_meta_0", backbone_args=TINY, image_size=image_size)
        loaded = build_backbone(config, num_classes=5, weights=file).model.state_dict()
        assert torch.equal(loaded["stage_4.0.mlp.fc1.weight"], source.state_dict()["stage_4.0.mlp.fc1.weight"])
        table = loaded["stage_3.0.attn.relative_position_bias_table"]
        assert table.shape == ((2 * side - 1) ** 2 + 1, 2)
    name = "stage_3.0.attn.relative_position_bias_table"
    same = checkpoint_filter_fn(published(source), source)[name]
    assert torch.equal(same, source.state_dict()[name])


def test_a_resized_table_keeps_its_shape() -> None:
    def ramp(side: int) -> Tensor:
        line = torch.linspace(-1, 1, 2 * side - 1)
        return torch.cat([(line[:, None] + line[None, :]).reshape(-1, 1), torch.tensor([[7.0]])])

    small, large = (tiny(img_size=size, num_heads=1) for size in (128, 256))
    name = "stage_3.0.attn.relative_position_bias_table"
    resized = checkpoint_filter_fn({name: ramp(8)}, large)[name]
    assert resized.shape == large.state_dict()[name].shape != small.state_dict()[name].shape
    assert resized[-1].item() == 7.0
    torch.testing.assert_close(resized[:-1], ramp(16)[:-1], atol=0.15, rtol=0.0)


def test_an_image_size_that_does_not_fit_is_refused(make_config: Callable[..., TrialConfig]) -> None:
    config = make_config(backbone="metafg_0", backbone_args=TINY, image_size=72)
    with pytest.raises(BackboneError, match=r"^`image_size` must suit the backbone, but `metafg_0` cannot take `72`"):
        build_backbone(config, num_classes=3, weights=None)

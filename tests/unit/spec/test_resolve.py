"""A point of the space becomes a TrialConfig."""

from __future__ import annotations

import pytest

from sweeper.errors import SpecError
from sweeper.records import ParamValue
from sweeper.spec import SweepSpec, resolve
from sweeper.spec.naming import setting_path
from sweeper.spec.sweep import OverrideSpec

SPEC = SweepSpec.model_validate(
    {
        "name": "two",
        "data": {"source": "digits"},
        "train": {"epochs": 4, "batch_size": 64},
        "backbone_args": {"act_layer": "relu"},
        "space": {"backbone": {"choice": ["davit_tiny", "maxvit_tiny"]}, "lr": {"log": [1e-4, 1e-2]}},
        "overrides": {
            "maxvit*": {
                "set": {"batch_size": 16, "augment.mixup": 0.2, "backbone_args.depths": [1, 1]},
                "space": {"lr": {"log": [1e-5, 1e-3]}},
            }
        },
        "seed": 7,
    }
)


def test_a_point_fills_the_sections() -> None:
    config = resolve(SPEC, {"backbone": "davit_tiny", "lr": 2e-3, "augment.policy": "3a", "data.image_size": 32})
    assert (config.backbone, config.train.lr, config.train.batch_size) == ("davit_tiny", 2e-3, 64)
    assert (config.augment.policy, config.data.image_size, config.seed) == ("3a", 32, 7)


def test_a_point_reaches_the_head_and_the_phases() -> None:
    point: dict[str, ParamValue] = {
        "head.type": "gem",
        "probe.epochs": 1,
        "train.fixres.epochs": 2,
        "fixres.image_size": 288,
    }
    config = resolve(SPEC, point | {"backbone": "davit_tiny"})
    assert config.head.type == "gem"
    assert (config.train.probe.epochs, config.train.fixres.epochs, config.train.fixres.image_size) == (1, 2, 288)


def test_two_names_of_one_setting_are_known_as_such() -> None:
    assert setting_path("probe.epochs") == setting_path("train.probe.epochs") == ("train", "probe", "epochs")
    assert setting_path("probe") is None
    assert setting_path("train.train.lr") is None


def test_an_override_applies_to_its_backbone_only() -> None:
    config = resolve(SPEC, {"backbone": "maxvit_tiny", "lr": 1e-4})
    assert (config.train.batch_size, config.augment.mixup) == (16, 0.2)
    assert config.backbone_args == {"act_layer": "relu", "depths": [1, 1]}
    assert resolve(SPEC, {"backbone": "davit_tiny", "lr": 1e-4}).backbone_args == {"act_layer": "relu"}


def test_an_override_can_replace_the_arguments_of_a_backbone_as_a_whole() -> None:
    spec = SPEC.model_copy(update={"overrides": {"davit*": OverrideSpec(set={"backbone_args": {"depths": [1, 1]}})}})
    assert resolve(spec, {"backbone": "davit_tiny", "lr": 1e-4}).backbone_args == {"depths": [1, 1]}


def test_a_point_wins_over_an_override() -> None:
    assert resolve(SPEC, {"backbone": "maxvit_tiny", "batch_size": 8}).train.batch_size == 8


def test_the_hash_names_the_settings_and_not_their_order() -> None:
    first = resolve(SPEC, {"backbone": "davit_tiny", "lr": 1e-3})
    assert first.hash == resolve(SPEC, {"lr": 1e-3, "backbone": "davit_tiny"}).hash
    assert first.hash != resolve(SPEC, {"lr": 2e-3, "backbone": "davit_tiny"}).hash


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^`layer_deca` is not a setting; did you mean `layer_decay`\?$"):
        resolve(SPEC, {"backbone": "davit_tiny", "layer_deca": 0.5})

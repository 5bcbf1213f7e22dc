"""The parameters that apply to a backbone, and their order."""

from __future__ import annotations

from typing import Any

from sweeper.spec import SweepSpec


def spec(**fields: Any) -> SweepSpec:
    return SweepSpec.model_validate({"name": "x", "data": {"source": "digits"}, "backbone": "vit", **fields})


def test_a_parameter_comes_after_those_it_depends_on() -> None:
    sweep = spec(
        space={
            "augment.mixup": {"uniform": [0, 1], "when": {"augment.policy": "3a"}},
            "augment.policy": {"choice": ["3a", "none"], "when": {"backbone": "vit"}},
            "backbone": {"choice": ["vit", "davit"]},
        }
    )
    assert [scoped.name for scoped in sweep.parameters("vit")] == ["backbone", "augment.policy", "augment.mixup"]


def test_a_range_of_its_own_has_a_name_of_its_own() -> None:
    sweep = spec(
        space={"lr": {"log": [1e-4, 1e-2]}},
        overrides={"vi*": {"space": {"lr": {"log": [1e-5, 1e-3]}, "drop_path": {"uniform": [0, 0.5]}}}},
    )
    assert [scoped.scoped_name for scoped in sweep.parameters("vit")] == ["lr@vi*", "drop_path@vi*"]
    assert [scoped.scoped_name for scoped in sweep.parameters("davit")] == ["lr"]

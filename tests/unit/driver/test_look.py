"""The first look of a sweep: backbones in order, weighed mildly, and a sentence for each that is left out."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.cli.options import WITHOUT_PRIOR
from sweeper.driver.look import FirstLook, first_look, is_wanted, sentences
from sweeper.driver.observer import NullObserver
from sweeper.errors import BackboneError
from sweeper.records import BackboneLook
from sweeper.spec import SweepSpec, TrialConfig

FOUND = {"a": 0.5, "b": 0.9, "c": 0.7}


def make(*backbones: str, **search: Any) -> SweepSpec:
    fields: dict[str, Any] = {"space": {"backbone": {"choice": list(backbones)}}, "search": search}
    return SweepSpec.model_validate(
        {"name": "s", "data": {"source": "digits"}, "overrides": {"r*": {"set": {"weights": "random"}}}, **fields}
    )


def look(config: TrialConfig) -> BackboneLook:
    """Stands for the images: knows what three backbones come to."""
    if config.backbone not in FOUND:
        raise BackboneError(f"There is no backbone `{config.backbone}`.")
    return BackboneLook(backbone=config.backbone, top1=FOUND[config.backbone], images=500, seconds=3.0)


def test_the_best_stands_first_and_none_is_given_less_than_a_quarter() -> None:
    found = first_look(make("a", "b", "c"), look, NullObserver())
    assert found.ranking == ("b", "c", "a")
    assert found.weights == pytest.approx({"b": 1.0, "c": 0.3679, "a": 0.25}, abs=1e-4)
    assert sentences(found)[0] == "first look: `b` 0.900 (linear probe, 500 images, 3 s)"


def test_what_cannot_be_looked_at_is_left_out_with_a_sentence() -> None:
    found = first_look(make("b", "random", "unknown"), look, NullObserver())
    assert found.ranking == ("b",)
    assert found.left_out == (
        "`random` has random weights; a first look would say nothing of it.",
        "`unknown` could not be looked at: There is no backbone `unknown`.",
    )
    assert FirstLook().weights == {}


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (make("a", "b"), True),
        (make("a"), False),
        (make("a", first_look=True), True),
        (make("a", "b", first_look=False), False),
        (make("a", "b", sampler="grid"), False),
    ],
    ids=["several", "one", "asked for", "not wanted", "a grid"],
)
def test_it_is_taken_where_there_is_a_choice(spec: SweepSpec, wanted: bool) -> None:
    assert is_wanted(spec) is wanted


def test_no_prior_is_two_settings() -> None:
    assert dict(setting.split("=") for setting in WITHOUT_PRIOR) == {
        "search.prior": "none",
        "search.first_look": "false",
    }

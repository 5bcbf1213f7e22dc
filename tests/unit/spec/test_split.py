"""`data.split`: what contradicts itself is told, and no trial can change it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from sweeper.errors import SpecError
from sweeper.spec import SweepSpec
from sweeper.spec.checks import require_valid
from sweeper.spec.data import DigitsData
from sweeper.spec.sentences import sentence
from sweeper.spec.split import SplitSpec


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"fold": 2}, "`fold` needs to be below `folds`, but got `fold` 2 of 1."),
        ({"folds": 5, "fold": 5}, "`fold` needs to be below `folds`, but got `fold` 5 of 5."),
        ({"by": "official", "folds": 5}, "`by: official` keeps the source's split, but got `folds` as well."),
        ({"val": 0.5, "test": 0.5}, "`val` and `test` need to leave images to train on, but got 0.5 and 0.5."),
        (
            {"by": "class"},
            "must be one of `auto`, `official`, `stratified`, `group`, `location`, but got `class`.",
        ),
        ({"seeds": 3}, "unknown key `seeds`; did you mean `seed`?"),
    ],
)
def test_a_split_that_cannot_be_meant_is_told(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SplitSpec.model_validate(asked)
    assert sentence(caught.value.errors()[0], root=SplitSpec) == message


def test_twins_cannot_be_dropped_from_a_stream() -> None:
    with pytest.raises(ValidationError) as caught:
        DigitsData.model_validate({"source": "digits", "stream": True, "split": {"duplicates": "drop"}})
    assert sentence(caught.value.errors()[0]) == (
        "`split.duplicates: drop` needs decoded images, but got `stream: true`, which keeps none."
    )


@pytest.mark.parametrize("place", ["space", "points", "overrides"])
def test_no_trial_can_change_which_images_it_is_judged_on(place: str) -> None:
    name = "data.split.seed"
    asked: dict[str, Any] = {
        "space": {name: {"int": [0, 9]}},
        "points": [{name: 3}],
        "overrides": {"test_*": {"set": {name: 3}}},
    }
    spec = SweepSpec.model_validate(
        {"name": "s", "data": {"source": "digits"}, "backbone": "test_vit", place: asked[place]}
    )
    message = f"`{name}` decides which images trials are judged on and is one for all of them; set it under `data`."
    with pytest.raises(SpecError, match=re.escape(message) + "$"):
        require_valid(spec)

"""What may change in a sweep that has begun."""

from __future__ import annotations

import re

import pytest

from sweeper.errors import SpecError
from sweeper.spec import SweepSpec
from sweeper.spec.edit import changes, edited, require_comparable

SPEC = SweepSpec.model_validate(
    {
        "name": "s", "data": {"source": "digits", "image_size": 32}, "backbone": "b.x1", "train": {"epochs": 4},
        "space": {"lr": {"log": [1e-4, 1e-2]}, "augment.policy": {"choice": ["none", "3a"]}},
        "overrides": {"b.x*": {"set": {"batch_size": 16}}}, "search": {"trials": 6, "stop": "hyperband"},
    }
)  # fmt: skip


def test_a_number_can_be_counted_from_what_it_was() -> None:
    assert edited(SPEC, ["search.trials=+30"]).search.trials == 36
    assert edited(SPEC, ["train.epochs=+2", "search.trials=9"]).train.epochs == 6
    with pytest.raises(
        SpecError, match=r"^--set backbone=\+3: `\+` counts from a number, but `backbone` was `b\.x1`\.$"
    ):
        edited(SPEC, ["backbone=+3"])


@pytest.mark.parametrize(
    "assignment",
    [
        "search.trials=+30", "space.lr={log: [1.0e-5, 1.0e-2]}", "space.augment.policy={choice: [none, 3a, rand-m9]}",
        "space.layer_decay={uniform: [0.5, 1.0]}", "search.stop=asha", "search.budget={hours: 3}",
        "search.sampler=tpe", "resources.max_concurrent=2", "points=[{lr: 1.0e-3}]", "search.constraints={latency_ms: {max: 3}}",
    ],
)  # fmt: skip
def test_what_leaves_trials_comparable_may_change(assignment: str) -> None:
    now = edited(SPEC, [assignment])
    require_comparable(SPEC, now)
    assert changes(SPEC, now)


@pytest.mark.parametrize(
    ("assignment", "key", "why"),
    [
        ("data.split.seed=5", "data.split.seed", "decides what trials are judged on"),
        ("search.objective=macro_f1", "search.objective", "decides what trials are ranked by"),
        ("search.prior=none", "search.prior", "was settled when the sweep began"),
        ("name=t", "name", "says which sweep this is"),
        ("eval.tail_below=3", "eval.tail_below", "decides what trials are judged on"),
        ("backbone_args={depths: [1]}", "backbone_args", "builds other networks"),
        ("search.sampler=grid", "search.sampler", "the points of a grid are queued from the start"),
        ("train.epochs=9", "train.epochs", "Hyperband's brackets follow from it. Set `search.stop=asha` as well."),
    ],
)
def test_what_would_make_trials_incomparable_is_refused_by_name(assignment: str, key: str, why: str) -> None:
    spec = SPEC if "grid" not in assignment else edited(SPEC, ["space.lr={choice: [0.1, 0.2]}"])
    with pytest.raises(SpecError) as caught:
        require_comparable(spec, edited(spec, [assignment]), allowed=[key])
    assert str(caught.value).startswith(f"`{key}` cannot change in a sweep that has begun (it was `")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "key"),
    [
        ("data.image_size=48", "data.image_size"),
        ("train.weight_decay=0.3", "train.weight_decay"),
        ("overrides.b.x*.set.batch_size=8", "overrides.b.x*.set.batch_size"),
        ("seed=3", "seed"),
    ],
)
def test_a_setting_of_all_trials_changes_only_where_it_is_allowed_by_name(assignment: str, key: str) -> None:
    now = edited(SPEC, [assignment])
    told = "it is the same for all trials, which would differ in more than their points; "
    with pytest.raises(SpecError, match=re.escape(f"{told}`--allow {key}` changes it all the same")):
        require_comparable(SPEC, now)
    require_comparable(SPEC, now, allowed=[key])


def test_every_key_that_cannot_change_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        require_comparable(SPEC, edited(SPEC, ["data.split.seed=5", "train.weight_decay=0.3", "search.trials=9"]))
    assert [line.split("`")[1] for line in str(caught.value).splitlines()] == ["data.split.seed", "train.weight_decay"]

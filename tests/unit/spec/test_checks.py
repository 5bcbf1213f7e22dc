"""Rules between parts of a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from sweeper.errors import SpecError
from sweeper.spec import SweepSpec
from sweeper.spec.checks import find_problems, require_valid

Refusal = Callable[..., str]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[3a, rand-m9]}}",
            "[4a]}}",
            "space.yaml:10: space.augment.mixup.when.augment.policy: `augment.policy` can never be `4a`, so "
            "`augment.mixup` would never apply.",
        ),
        (
            "when: {augment.policy:",
            "when: {augment.polic:",
            "space.yaml:10: space.augment.mixup.when.augment.polic: `when` names `augment.polic`, which is not in the "
            "space; did you mean `augment.policy`?",
        ),
        (
            "[0.6, 1.0]",
            "[0.6, 1.5]",
            "space.yaml:7: space.layer_decay: must be less than or equal to 1, but got `1.5`.",
        ),
        (
            "trivial]",
            "rand-m99]",
            "space.yaml:9: space.augment.policy: must be `none`, `3a`, `trivial` or `rand-m<0-10>[-n<1-4>]`, "
            "but got `rand-m99`.",
        ),
        (
            "tracking:",
            "points: [{lr: 1.0}]\ntracking:",
            "space.yaml:13: points.0.lr: `lr` can never be `1.0`; widen its range in `space`.",
        ),
        (
            "tracking:",
            "points: [{drop_path: 0.1}]\ntracking:",
            "space.yaml:13: points.0.drop_path: `drop_path` is not in the space.",
        ),
        (
            "tracking:",
            "overrides: {'maxvit*': {set: {batch_size: 3}}}\ntracking:",
            "space.yaml:13: overrides.maxvit*: `maxvit*` matches none of the sweep's backbones: `davit_tiny.msft_in1k`.",
        ),
        (
            "tracking:",
            "overrides: {'davit*': {set: {batch_size: 0}}}\ntracking:",
            "space.yaml:13: overrides.davit*.set.batch_size: must be greater than or equal to 1, but got `0`.",
        ),
        (
            "backbone: davit_tiny.msft_in1k\n",
            "",
            "space.yaml:1: backbone: a sweep needs `backbone: <timm model>` or a choice of backbones in `space`.",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_named(refusal: Refusal, old: str, new: str, message: str) -> None:
    assert refusal(old, new) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "freeze_depth: {int: [0, 4]}",
            "freeze_depth: {uniform: [0, 4]}",
            "space.yaml:8: space.freeze_depth: must be a valid integer, got a number with a fractional part, but got `1.527864`.",
        ),
        (
            "  layer_decay: {uniform: [0.6, 1.0]}",
            "  train.lr: {log: [0.1, 1]}",
            "space.yaml:7: space.train.lr: `train.lr` and `lr` are the same setting; keep one of them.",
        ),
        (
            "  layer_decay: {uniform: [0.6, 1.0]}",
            "  backbone: {choice: [a, b]}",
            "space.yaml:3: backbone: `backbone` stands in the file and in `space`; keep one of them.",
        ),
        (
            "epochs: 30,",
            "epochs: 3, probe: {epochs: 1}, fixres: {epochs: 2},",
            "space.yaml:4: train.epochs: must be more than the epochs of `probe` and `fixres` together, but a trial of "
            "`davit_tiny.msft_in1k` could have 3, with 1 and 2 of them.",
        ),
        (
            "  layer_decay: {uniform: [0.6, 1.0]}",
            "  epochs: {choice: [4, 30]}\n  probe.epochs: {int: [0, 4]}",
            "space.yaml:4: train.epochs: must be more than the epochs of `probe` and `fixres` together, but a trial of "
            "`davit_tiny.msft_in1k` could have 4, with 4 and 0 of them.",
        ),
        (
            "  layer_decay: {uniform: [0.6, 1.0]}",
            "  head.typ: {choice: [linear, gem]}",
            "space.yaml:7: space.head.typ: `head.typ` is not a setting; did you mean `head.type`?",
        ),
        (
            "  layer_decay: {uniform: [0.6, 1.0]}",
            "  head.type: {choice: [linear, gems]}",
            "space.yaml:7: space.head.type: must be one of `linear`, `mlp`, `cosine`, `gem`, `covariance`, `seb`, but "
            "got `gems`; did you mean `gem`?",
        ),
        (
            "{asha: {grace_epochs: 2, reduction: 3}}",
            "{hyperband: {grace_epochs: 31}}",
            "space.yaml:11: search.stop.hyperband.grace_epochs: must be at most `train.epochs`, 30, but got `31`.",
        ),
        (
            "image_size: 224}\nbackbone: davit_tiny.msft_in1k\ntrain: {",
            "image_size: 224, stream: true}\nbackbone: davit_tiny.msft_in1k\ntrain: {sampler: balanced, ",
            "space.yaml:2: data.stream: reads images in the order in which they lie, but a trial of "
            "`davit_tiny.msft_in1k` could have `sampler: balanced`, which asks for them in another; give up one of the "
            "two.",
        ),
    ],
)
def test_what_could_never_run_is_refused(refusal: Refusal, old: str, new: str, message: str) -> None:
    assert refusal(old, new).startswith(message)


def test_a_grid_over_a_range_is_refused(refusal: Refusal) -> None:
    assert refusal("sampler: tpe", "sampler: grid").splitlines()[0] == (
        "space.yaml:6: space.lr: `sampler: grid` needs finite parameters; list the values of `lr` with `choice`."
    )


def test_a_parameter_that_depends_on_itself_is_refused() -> None:
    spec = SweepSpec.model_validate(
        {
            "name": "x",
            "data": {"source": "digits"},
            "backbone": "b",
            "space": {
                "freeze_depth": {"int": [0, 2], "when": {"batch_size": 8}},
                "batch_size": {"choice": [8, 16], "when": {"freeze_depth": 1}},
            },
        }
    )
    assert [message for _, message in find_problems(spec)] == [
        "`freeze_depth` depends on itself through its conditions.",
        "`batch_size` depends on itself through its conditions.",
    ]


def test_a_spec_made_in_python_is_held_to_the_same_rules() -> None:
    spec = SweepSpec.model_validate({"name": "x", "data": {"source": "digits"}})
    with pytest.raises(SpecError, match=r"^backbone: a sweep needs `backbone: <timm model>` or a choice"):
        require_valid(spec)


def test_a_name_that_runs_through_a_plain_value_is_refused() -> None:
    spec = SweepSpec.model_validate(
        {
            "name": "x",
            "data": {"source": "digits"},
            "backbone": "b",
            "backbone_args": {"a": 1},
            "space": {"backbone_args.a.b": {"fixed": 1}},
        }
    )
    assert [message for _, message in find_problems(spec)] == ["`a` is a plain value and has no `b`."]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"also": ["latency"]}, "search.also.0: `latency` is not a metric; did you mean `latency_ms`?"),
        (
            {"constraints": {"params": {"max": 1}}},
            "search.constraints.params: `params` is not a metric; did you mean `parameters`?",
        ),
        (
            {"also": ["top1"]},
            "search.also: names metrics besides the objective, each once; leave out the repeated one.",
        ),
        (
            {"also": ["latency_ms"], "sampler": "tpe"},
            "search.also: trade-offs need `sampler: curves`; `tpe` would look at `top1` alone.",
        ),
        (
            {"also": ["latency_ms"], "warm_start": [{"sweep": "old"}]},
            "search.warm_start: earlier searches tell of one objective; leave out `also`, or the warm start.",
        ),
        (
            {"also": ["latency_ms"], "patience": {"gain": 0.01, "trials": 5}},
            "search.patience: what is gained has one objective's unit; leave out `also`, or `patience`.",
        ),
    ],
    ids=["metric", "constraint", "twice", "sampler", "warm start", "patience"],
)
def test_objectives_and_constraints_are_metrics(search: dict[str, Any], message: str) -> None:
    spec = SweepSpec.model_validate({"name": "s", "data": {"source": "digits"}, "backbone": "vit", "search": search})
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        require_valid(spec)

"""Priors: published ranges become densities over this sweep's own space, and a few first points."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeper.errors import SpecError
from sweeper.search import Advice, LogPrior, first_points, open_ledger, settle_prior
from sweeper.spec import SweepSpec

MakeSpec = Callable[..., SweepSpec]

SHIPPED = sorted((Path(__file__).resolve().parents[3] / "sweeper" / "search" / "priors").glob("*.yaml"))

OWN = """\
family: mine
match: ["vit*"]
beliefs:
  train.lr: {likely: [1.0e-3, 1.0e-2], source: my notebook}
  augment.policy: {weights: {3a: 3}, source: my notebook}
points:
  - {point: {lr: 2.0e-3, freeze_depth: 9, drop_path: 0.1}, source: my notebook}
"""


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_number_can_be_used_and_names_its_source(file: Path, make_spec: MakeSpec) -> None:
    from sweeper.spec.load import load_prior

    family = load_prior(file)
    assert family.points
    name = family.match[0].replace("*", "x").replace("xefficientnetx", "efficientnet_b0")
    space = {
        "lr": {"log": [1e-6, 1e-1]}, "layer_decay": {"uniform": [0.3, 1.0]}, "freeze_depth": {"int": [0, 4]},
        "head_lr_scale": {"choice": [1.0, 3.0, 10.0]}, "weight_decay": {"log": [1e-8, 0.5]},
        "drop_path": {"uniform": [0.0, 0.5]}, "label_smoothing": {"uniform": [0.0, 0.3]},
        "augment.policy": {"choice": ["none", "3a", "rand-m9", "trivial"]}, "augment.erase": {"uniform": [0.0, 0.5]},
        "augment.mixup": {"uniform": [0.0, 1.0]}, "augment.cutmix": {"uniform": [0.0, 1.0]},
    }  # fmt: skip
    (prior,) = settle_prior(make_spec(backbone=name, space=space))
    assert {one.parameter for one in prior.beliefs} == set(family.beliefs)
    assert [one.point for one in prior.points] == [one.point for one in family.points]
    density = LogPrior(make_spec(backbone=name, space=space), [prior])
    assert density(prior.points[0].point) > 0.3


def test_a_density_averages_to_that_of_an_even_draw(make_spec: MakeSpec) -> None:
    for parameter in (
        {"log": [1e-6, 1e-1]}, {"log": [2e-4, 1e-3]}, {"uniform": [1e-5, 1e-3]}, {"choice": [1e-5, 1e-4, 1e-3]},
    ):  # fmt: skip
        spec = make_spec(backbone="vit_tiny_patch16_224", space={"lr": parameter})
        density = LogPrior(spec, settle_prior(spec))
        ends = spec.space["lr"].ends
        if "log" in parameter:
            values = np.geomspace(float(ends[0] or 0), float(ends[-1] or 0), 4001)
        elif "uniform" in parameter:
            values = np.linspace(float(ends[0] or 0), float(ends[-1] or 0), 4001)
        else:
            values = np.array(ends)
        assert np.mean([math.exp(density({"lr": float(value)})) for value in values]) == pytest.approx(1.0, abs=2e-3)
        # 15 % of a belief is spread evenly: it rules nothing out.
        assert min(math.exp(density({"lr": float(value)})) for value in values) >= 0.15


def test_a_prior_keeps_to_the_parameters_and_ranges_of_the_sweep(make_spec: MakeSpec, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    spec = make_spec(search={"trials": 10, "prior": str(file)})
    (prior,) = settle_prior(spec)
    assert [one.parameter for one in prior.beliefs] == ["lr"]
    assert [one.point for one in prior.points] == [{"lr": 2e-3}]
    elsewhere = make_spec(search={"trials": 10, "prior": str(file)}, space={"lr": {"log": [1e-6, 1e-5]}})
    assert settle_prior(elsewhere) == ()
    words = make_spec(search={"prior": str(file)}, space={"augment.policy": {"choice": ["none", "3a"]}})
    density = LogPrior(words, settle_prior(words))
    assert density({"augment.policy": "3a"}) > 0 > density({"augment.policy": "none"})


def test_learning_rates_of_adamw_are_not_believed_of_sgd(make_spec: MakeSpec) -> None:
    fixed = make_spec(backbone="vit_tiny_patch16_224", train={"optimizer": "sgd"})
    (prior,) = settle_prior(fixed)
    assert "lr" not in {one.parameter for one in prior.beliefs}
    assert all("lr" not in one.point for one in prior.points)
    searched = make_spec(
        backbone="vit_tiny_patch16_224", space={"lr": {"log": [1e-6, 1]}, "optimizer": {"choice": ["adamw", "sgd"]}}
    )
    density = LogPrior(searched, settle_prior(searched))
    assert density({"lr": 1e-4, "optimizer": "adamw"}) > 0.5
    assert density({"lr": 1e-4, "optimizer": "sgd"}) == 0.0


@pytest.mark.parametrize(
    "fields",
    [
        {"search": {"prior": "none"}},
        {"weights": "random"},
        {"search": {"sampler": "grid"}, "space": {"lr": {"choice": [1e-4, 1e-3]}}},
        {"backbone": "unheard_of"},
    ],
    ids=["no prior", "from scratch", "a grid", "an unknown family"],
)
def test_there_is_no_prior(make_spec: MakeSpec, fields: dict[str, object]) -> None:
    assert settle_prior(make_spec(**{"backbone": "vit_tiny_patch16_224", **fields})) == ()


def test_first_points_are_a_fifth_of_the_trials_each_backbone_once_before_any_twice(make_spec: MakeSpec) -> None:
    spec = make_spec(
        backbone=None,
        space={"backbone": {"choice": ["vit_tiny_patch16_224", "davit_tiny"]}, "lr": {"log": [1e-6, 1e-1]}},
        search={"trials": 15},
    )
    points = first_points(spec, settle_prior(spec), ranking=["davit_tiny"])
    assert [point["backbone"] for point in points] == ["davit_tiny", "vit_tiny_patch16_224", "davit_tiny"]
    assert points[0]["lr"] == 2e-4
    assert first_points(make_spec(backbone="vit_tiny_patch16_224"), settle_prior(spec)) != ()
    assert first_points(make_spec(search={"trials": 4}), settle_prior(spec)) == ()


def test_first_points_run_after_the_users_own_and_once(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec(points=[{"lr": 1e-3, "freeze_depth": 1}])
    advice = Advice(first_points=({"lr": 2e-3, "freeze_depth": 2},))
    url = f"sqlite:///{tmp_path}/study.db"
    open_ledger(spec, url, create=True, advice=advice)
    ledger = open_ledger(spec, url, create=True, advice=advice)
    asked = [suggestion.params for suggestion in iter(ledger.ask, None)]
    assert asked[:2] == [{"lr": 1e-3, "freeze_depth": 1}, {"lr": 2e-3, "freeze_depth": 2}]
    assert len(asked) == spec.search.trials


def test_a_backbone_that_looked_better_is_likelier(make_spec: MakeSpec) -> None:
    spec = make_spec(backbone=None, space={"backbone": {"choice": ["a", "b", "c"]}})
    density = LogPrior(spec, (), {"a": 1.0, "b": 0.25})
    known, left_out = math.exp(density({"backbone": "a"}) - density({"backbone": "b"})), density({"backbone": "c"})
    assert known == pytest.approx(4.0)
    assert density({"backbone": "a"}) > left_out > density({"backbone": "b"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family: x\nmatch: [a]\nbelief: {}\n", "{file}:3: belief: unknown key `belief`; did you mean `beliefs`?"),
        (
            "family: x\nmatch: [a]\nbeliefs:\n  lrr: {likely: [1, 2], source: s}\n",
            "{file}:4: beliefs.lrr: `lrr` is not a setting; did you mean `lr`?",
        ),
        (
            "family: x\nmatch: [a]\nbeliefs:\n  lr: {likely: [2, 1], source: s}\n",
            "{file}:4: beliefs.lr: a belief needs low < high, but got [2, 1].",
        ),
        (
            "family: x\nmatch: [a]\nbeliefs:\n  lr:\n    likely: [1, 2]\n",
            "{file}:4: beliefs.lr.source: `source` is required.",
        ),
        (
            "family: x\nmatch: [a]\nbeliefs:\n  lr: {source: s}\n",
            "{file}:4: beliefs.lr: a belief needs `likely` or `weights`, one of the two.",
        ),
        ("family: x\nmatch: [resnet*]\n", "`search.prior` must match a backbone of the sweep, but `{file}` matches none of `vit`."),
    ],
    ids=["key", "setting", "range", "source", "nothing", "match"],
)  # fmt: skip
def test_a_mistake_in_a_prior_is_named_at_its_line(
    make_spec: MakeSpec, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=f"^{re.escape(message.format(file=file))}$"):
        settle_prior(make_spec(search={"prior": str(file)}))


def test_a_prior_that_is_missing_is_told(make_spec: MakeSpec) -> None:
    with pytest.raises(SpecError, match=r"^Cannot read the prior `/no/prior\.yaml`: No such file or directory\.$"):
        settle_prior(make_spec(search={"prior": "/no/prior.yaml"}))

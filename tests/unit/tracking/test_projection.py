from __future__ import annotations

import math
from typing import Any

import pytest

from sweeper.records import EpochMetrics, TrialState
from sweeper.tracking.projection import (
    TrialSummary,
    epoch_points,
    finished_trials,
    run_name,
    run_params,
    run_status,
    run_tags,
    sweep_metrics,
    trial_summary,
)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"lr": 2.1e-4, "augment.mixup": 0.2}, "trial-007 davit_tiny lr=2.1e-04"),
        ({"augment.mixup": 0.25, "train.lr": 0.05}, "trial-007 davit_tiny lr=0.05"),
        ({"freeze_depth": 3}, "trial-007 davit_tiny freeze_depth=3"),
        ({"backbone": "davit_tiny.msft_in1k"}, "trial-007 davit_tiny"),
    ],
)
def test_a_name_tells_trials_apart(made: Any, params: dict[str, Any], name: str) -> None:
    assert run_name(made.record(7, params=params), made.config) == name


def test_a_name_without_settings_takes_the_backbone_from_the_point(made: Any) -> None:
    assert run_name(made.record(12, params={"backbone": "a.b", "lr": 0.0}), None) == "trial-012 a lr=0"


@pytest.mark.parametrize(
    ("state", "status"),
    [("running", "RUNNING"), ("complete", "FINISHED"), ("stopped", "FINISHED"), ("failed", "FAILED")],
)
def test_a_status_follows_from_the_state(made: Any, state: str, status: str) -> None:
    assert run_status(made.record(0, TrialState(state))) == status


def test_parameters_are_those_searched_and_every_setting(made: Any) -> None:
    config = made.config.model_copy(update={"backbone_args": {"depths": [1, 2], "a b": 1, "deep": {"er": None}}})
    params = run_params(made.record(0), config)
    assert params["lr"] == params["train.lr"] == "0.00021"
    assert params["augment.mixup"] == "0.0"  # the settings tell what ran
    assert params["backbone"] == "davit_tiny.msft_in1k"
    assert params["data.source"] == "digits"
    assert params["backbone_args.depths"] == "[1, 2]"
    assert params["backbone_args.a_b"] == "1"
    assert params["backbone_args.deep.er"] == "None"


def test_a_failure_is_a_tag(made: Any) -> None:
    assert run_tags(made.record(0)) == {"sweeper.state": "running", "sweeper.attempts": "1"}
    assert run_tags(made.record(0, TrialState.FAILED))["sweeper.failure"] == "RuntimeError: the GPU fell off"


def test_every_field_of_an_epoch_is_a_metric_at_its_step(made: Any) -> None:
    (first, second) = epoch_points(made.record(0, epochs=2), "top1", after=0)
    assert {point.key for point in first} == {*EpochMetrics.model_fields, "best_top1"}
    assert {point.step for point in second} == {2}
    assert {point.time_ms for point in second} == {1_790_000_005_000}  # two epochs of 2.5 s


def test_only_later_epochs_are_given_and_they_are_the_same_as_before(made: Any) -> None:
    record = made.record(0, epochs=5)
    assert epoch_points(record, "top1", after=3) == epoch_points(record, "top1", after=0)[3:]
    assert epoch_points(record, "top1", after=5) == []


@pytest.mark.parametrize(("objective", "improved"), [("top1", [1, 3]), ("val_loss", [1, 2])])
def test_the_best_value_has_a_point_where_it_improved(made: Any, objective: str, improved: list[int]) -> None:
    values = [(0.5, 0.9), (0.4, 0.7), (0.6, 0.8), (math.nan, math.nan)]
    epochs = tuple(made.epoch(n, top1=top1, val_loss=loss) for n, (top1, loss) in enumerate(values, start=1))
    record = made.record(0, epochs=4).model_copy(update={"epochs": epochs})
    points = [point for epoch in epoch_points(record, objective, after=0) for point in epoch]
    best = [point for point in points if point.key == f"best_{objective}"]
    assert [point.step for point in best] == improved
    assert trial_summary(record, objective).best == best[-1].value


def test_a_sweep_counts_its_trials_and_shows_the_best() -> None:
    trials = [
        TrialSummary(TrialState.COMPLETE, 0.6),
        TrialSummary(TrialState.STOPPED, 0.7),
        TrialSummary(TrialState.RUNNING, None),
    ]
    metrics = sweep_metrics(trials, "top1")
    assert metrics == {
        "trials_waiting": 0.0, "trials_running": 1.0, "trials_complete": 1.0, "trials_stopped": 1.0,
        "trials_failed": 0.0, "best_top1": 0.7,
    }  # fmt: skip
    assert finished_trials(metrics) == 2
    assert sweep_metrics(trials, "val_loss")["best_val_loss"] == 0.6
    assert "best_top1" not in sweep_metrics([], "top1")

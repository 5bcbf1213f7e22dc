"""What crosses Ray's dictionaries comes out as it went in."""

from __future__ import annotations

from pathlib import Path

from sweeper.driver.assignment import Assignment, Message
from sweeper.records import EpochMetrics, Failure
from sweeper.spec import TrialConfig


def test_an_assignment_survives_the_way_to_a_worker() -> None:
    config = TrialConfig.model_validate(
        {"backbone": "vit", "data": {"source": "digits"}, "backbone_args": {"d": [1, 2]}}
    )
    assignment = Assignment(
        sweep="photos",
        number=3,
        attempt=2,
        config=config,
        folder=Path("/a b/c"),
        cache=Path("/c"),
        device="cpu",
        threads=2,
    )
    assert Assignment.from_ray(assignment.to_ray()) == assignment


def test_only_an_epoch_is_not_the_last_message() -> None:
    epoch = EpochMetrics(
        epoch=1, top1=0.1, top5=0.2, macro_f1=0.3, balanced_accuracy=0.4, val_loss=float("inf"), train_loss=1e-30,
        lr=1e-3, train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=1.0,
    )  # fmt: skip
    failure = Failure(reason="r", traceback="t")
    for message, is_last in ((Message(epoch=epoch), False), (Message(), True), (Message(failure=failure), True)):
        assert message.to_ray()["done"] is is_last
        assert Message.from_ray({**message.to_ray(), "pid": 1}) == message

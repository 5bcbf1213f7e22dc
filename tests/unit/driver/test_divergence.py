"""A trial that diverged ends, a slow or an overconfident one does not."""

from __future__ import annotations

import pytest

from sweeper.driver.divergence import diverged
from sweeper.records import EpochMetrics


def epochs(*seen: tuple[float, float]) -> list[EpochMetrics]:
    """Epochs by validation loss and balanced accuracy."""
    return [
        EpochMetrics(
            epoch=number, top1=accuracy, top5=1.0, macro_f1=accuracy, balanced_accuracy=accuracy, val_loss=loss,
            train_loss=loss, lr=1e-3, train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=1.0,
        )
        for number, (loss, accuracy) in enumerate(seen, start=1)
    ]  # fmt: skip


def test_a_loss_far_above_guessing_twice_in_a_row_at_chance_is_a_divergence() -> None:
    assert diverged(epochs((1.0, 0.7), (30.0, 0.1), (41.2, 0.1)), classes=10) == (
        "it diverged: after epoch 3 the validation loss is 41.2, of guessing 2.3, and balanced accuracy 0.1 is no better "
        "than guessing, the second time in a row; lower `lr`, or let such trials go on with `search.stop_diverged: false`"
    )


@pytest.mark.parametrize(
    "seen",
    [
        [(2.3, 0.1)] * 9,  # learns nothing, or not yet
        [(9.0, 0.6)] * 9,  # sure of its mistakes
        [(30.0, 0.1), (2.0, 0.3), (30.0, 0.1)],  # recovers
        [(30.0, 0.1)],
    ],
)
def test_what_may_still_become_something_is_none(seen: list[tuple[float, float]]) -> None:
    assert diverged(epochs(*seen), classes=10) is None
    assert diverged(epochs(*seen), classes=1) is None

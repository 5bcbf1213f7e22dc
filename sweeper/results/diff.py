"""Two trials side by side: what differs in their settings, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sweeper.predictions import Predictions
from sweeper.records import METRICS, EpochMetrics
from sweeper.results.resampling import interval_of, resampled
from sweeper.results.scores import image_scores
from sweeper.spec import TrialConfig

_OF_THE_CLOCK = {"train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb", "latency_ms"}
"""What no two runs of the same trial have in common."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, eq=False)
class Side:
    """A trial that is compared."""

    name: str
    config: TrialConfig
    epochs: tuple[EpochMetrics, ...]
    said: Predictions | None


class EpochPair(_Value):
    """The objective of both in an epoch; None where one has no such epoch."""

    epoch: int
    left: float | None
    right: float | None


class ClassGain(_Value):
    """How much better the right trial knows a class."""

    name: str
    images: int
    left: float
    """Recall."""
    right: float
    gain: float


class Images(_Value):
    """Both on the same validation images."""

    images: int
    only_left: int
    """Images that only the left one gets right."""
    only_right: int
    p_value: float
    """McNemar's exact test, two-sided: how likely chance alone divides those so unevenly."""
    gain: float | None
    """Of the objective, above 0 where the right one is better; None where it is no mean over images or classes."""
    interval: tuple[float, float] | None
    """Of the gain, 95 %, by paired bootstrap."""
    classes: tuple[ClassGain, ...]
    """The classes whose recall differs, the largest gain first."""


class TrialDiff(_Value):
    """Two trials side by side."""

    left: str
    right: str
    objective: str
    settings: dict[str, tuple[Any, Any]]
    """The settings that differ, by name."""
    epochs: tuple[EpochPair, ...]
    images: Images | None
    """None where they were not judged on the same images, or it is not known what was said of them."""


def diff_trials(left: Side, right: Side, objective: str) -> TrialDiff:
    """Puts two trials side by side.

    Args:
        left: one trial.
        right: the other; gains are in its favour.
        objective: one of `METRICS`.
    """
    values = [{epoch.epoch: epoch.value(objective) for epoch in side.epochs} for side in (left, right)]
    epochs = sorted(values[0].keys() | values[1].keys())
    return TrialDiff(
        left=left.name,
        right=right.name,
        objective=objective,
        settings=dict(_differing(left.config, right.config)),
        epochs=tuple(EpochPair(epoch=one, left=values[0].get(one), right=values[1].get(one)) for one in epochs),
        images=_on_images(left.said, right.said, objective),
    )


def first_parting(one: EpochMetrics, other: EpochMetrics) -> dict[str, tuple[Any, Any]]:
    """Returns the numbers in which two runs of the same epoch differ, those of the clock left out."""
    mine, others = (epoch.model_dump(exclude=_OF_THE_CLOCK) for epoch in (one, other))
    return {name: (value, others[name]) for name, value in mine.items() if value != others[name]}


def _differing(left: TrialConfig, right: TrialConfig) -> Iterator[tuple[str, tuple[Any, Any]]]:
    mine, others = (dict(_leaves(one.model_dump(mode="json"))) for one in (left, right))
    for name in dict.fromkeys([*mine, *others]):
        if mine.get(name) != others.get(name):
            yield name, (mine.get(name), others.get(name))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _on_images(left: Predictions | None, right: Predictions | None, objective: str) -> Images | None:
    if left is None or right is None or not left.is_of_same_images(right):
        return None
    from scipy.stats import binomtest  # here, as `status` is not to wait for it

    right_is, left_is = right.guesses == right.labels, left.guesses == left.labels
    only_left, only_right = int((left_is & ~right_is).sum()), int((right_is & ~left_is).sum())
    apart = only_left + only_right
    gain, interval = _gain(left, right, objective)
    return Images(
        images=len(left.labels),
        only_left=only_left,
        only_right=only_right,
        p_value=float(binomtest(only_right, apart).pvalue) if apart else 1.0,
        gain=gain,
        interval=interval,
        classes=_classes(left, right),
    )


def _gain(left: Predictions, right: Predictions, objective: str) -> tuple[float | None, tuple[float, float] | None]:
    before, after = (image_scores(objective, one) for one in (left, right))
    if before is None or after is None:
        return None, None
    sign = 1.0 if METRICS[objective].higher_is_better else -1.0
    low, high = interval_of(resampled(before, sign * (after.values - before.values)[None])[:, 0]).tolist()
    return sign * (after.mean - before.mean), (low, high)


def _classes(left: Predictions, right: Predictions) -> tuple[ClassGain, ...]:
    width = len(left.info.classes)
    images = np.bincount(left.labels, minlength=width)
    hits = [np.bincount(one.labels[one.guesses == one.labels], minlength=width) for one in (left, right)]
    gains = []
    for at in np.flatnonzero(hits[0] != hits[1]).tolist():
        before, after = (float(one[at] / images[at]) for one in hits)
        gains.append(
            ClassGain(name=left.info.classes[at], images=int(images[at]), left=before, right=after, gain=after - before)
        )
    return tuple(sorted(gains, key=lambda one: -one.gain))

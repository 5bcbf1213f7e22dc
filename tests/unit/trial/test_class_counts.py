from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from sweeper.errors import SpecError
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.class_counts import ClassCounts, check_objective

MakeConfig = Callable[..., TrialConfig]
LABELS = np.repeat(np.arange(5), [101, 100, 20, 19, 0])


def test_the_groups_are_those_of_liu_and_others(make_config: MakeConfig) -> None:
    counts = ClassCounts.of(LABELS, make_config(), num_classes=5)
    head, middle, tail = counts.groups.tolist()
    assert head == [True, False, False, False, False]
    assert middle == [False, True, True, False, False]
    assert tail == [False, False, False, True, True]


def test_the_limits_can_be_set(make_config: MakeConfig) -> None:
    counts = ClassCounts.of(LABELS, make_config(eval=EvalSpec(head_above=19, tail_below=20)), num_classes=5)
    assert counts.groups.sum(dim=1).tolist() == [3, 0, 2]


def test_a_class_that_lost_its_images_counts_as_if_it_had_one(make_config: MakeConfig) -> None:
    counts = ClassCounts.of(LABELS, make_config(), num_classes=5)
    assert counts.images.tolist() == [101, 100, 20, 19, 1]
    assert counts.shares.tolist() == pytest.approx([n / 241 for n in (101, 100, 20, 19, 1)])


def test_an_objective_over_no_class_is_refused(make_config: MakeConfig) -> None:
    labels = LABELS[LABELS < 3]
    check_objective(make_config(objective="recall_head"), labels, num_classes=3)
    message = (
        "`objective: recall_tail` needs classes in the tail of the distribution, but there are none: they have 20 to 101 "
        "training images; set `eval.head_above`, now 100, or `eval.tail_below`, now 20."
    )
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        check_objective(make_config(objective="recall_tail"), labels, num_classes=3)

"""Whole groups of images dealt to the parts of a split, so that each class is shared out as asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeper.data.manifest import Sample


@dataclass(frozen=True, eq=False)
class Group:
    """Images that stay together."""

    keys: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    """The classes it has images of, each once."""
    counts: npt.NDArray[np.int64]
    """Its images of each of those classes."""


def gather(samples: Sequence[Sample], group_of: Mapping[str, str]) -> list[Group]:
    """Returns the groups of some samples, in the order in which they appear.

    Args:
        samples: what is to be split.
        group_of: the group of a sample by its key; a sample that is not in it is a group of its own.
    """
    together: dict[tuple[bool, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        name = group_of.get(sample.key)
        together[(False, sample.key) if name is None else (True, name)].append(sample)
    return [_group(members) for members in together.values()]


def _group(members: Sequence[Sample]) -> Group:
    counts = Counter(sample.label for sample in members)
    labels, numbers = np.array(list(counts.items()), np.int64).T
    return Group(tuple(sample.key for sample in members), labels, numbers)


def deal_groups(groups: Sequence[Group], shares: Sequence[float], *, trains: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Deals groups to parts, the largest first, each to the part that its classes have filled least.

    A greedy rule as in scikit-learn's `StratifiedGroupKFold`, for parts of any size: a part's fill is its
    images of a class over those that it should have. Each step looks at the classes of one group alone, so
    100,000 groups of 300,000 images take ten seconds.

    Args:
        groups: in an order that breaks ties.
        shares: of each part, together 1.
        trains: (parts, parts), whether the second part trains a model that is judged on the first. A class
            keeps a group in the training of each part that has a row with a True, wherever that is possible.

    Returns:
        The part of each image by its key.
    """
    num_classes = 1 + max(int(group.labels.max()) for group in groups)
    totals, waiting = np.zeros(num_classes), np.zeros(num_classes, np.int64)
    for group in groups:
        totals[group.labels] += group.counts
        waiting[group.labels] += 1  # groups of the class that are not dealt yet
    want = np.array(shares)[:, None]
    have = np.zeros((len(shares), num_classes))
    judged = trains.any(axis=1)
    part_of: dict[str, int] = {}
    for group in sorted(groups, key=lambda group: -len(group.keys)):
        labels, counts = group.labels, group.counts
        waiting[labels] -= 1
        fill = (have[:, labels] + counts) / (want * totals[labels])
        # The load of the whole part decides only between equals.
        cost = fill @ (counts / totals[labels]) + 1e-6 * (have.sum(axis=1) / (want[:, 0] * totals.sum()))
        trained = trains @ (have[:, labels] > 0)
        starves = judged & ((waiting[labels] == 0) & ~trained).any(axis=1)
        allowed = ~starves if not starves.all() else np.ones(len(shares), bool)
        part = int(np.where(allowed, cost, np.inf).argmin())
        have[part, labels] += counts
        part_of.update(dict.fromkeys(group.keys, part))
    return part_of

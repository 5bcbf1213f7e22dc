"""Which images train, which validate, and which are kept for a test."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from sweeper.data.manifest import Manifest, Observation, Sample, Split
from sweeper.data.splits import split_samples
from sweeper.errors import DataError
from sweeper.spec.split import SplitSpec

NAMES = ("cup", "dog", "eel", "fox", "gnu")


def listed(*counts: int, split: Split = "train") -> Manifest:
    """A manifest with so many images of each class."""
    samples = (
        Sample(f"{split}/{NAMES[label]}/{number:03d}", label, split, "")
        for label, count in enumerate(counts)
        for number in range(count)
    )
    return Manifest(NAMES[: len(counts)], tuple(samples))


def joined(*manifests: Manifest) -> Manifest:
    return Manifest(manifests[0].classes, tuple(sample for one in manifests for sample in one.samples))


def split(manifest: Manifest, **asked: Any) -> Manifest:
    return split_samples(manifest, SplitSpec.model_validate(asked))


def counts(manifest: Manifest, name: Split) -> list[int]:
    """The images of each class in a split."""
    return [
        sum(s.label == label and s.split == name for s in manifest.samples) for label in range(len(manifest.classes))
    ]


def keys(manifest: Manifest, name: Split) -> set[str]:
    return {sample.key for sample in manifest.samples if sample.split == name}


def observers(seed: int, *, images: int = 1500, classes: int = 5) -> Manifest:
    """A long tail seen by observers, few of whom took many of the images, each with classes that they prefer."""
    rng = np.random.default_rng(seed)
    shares = 2.0 ** -np.arange(classes)
    samples: list[Sample] = []
    while len(samples) < images:
        taste = rng.dirichlet(shares / shares.sum() * 5)
        for label in rng.choice(classes, size=1 + int(rng.pareto(1.2)) % 200, p=taste).tolist():
            samples.append(Sample(f"{len(samples):05d}", label, "train", "", group=f"observer {len(taste)}-{taste[0]}"))
    return Manifest(NAMES[:classes], tuple(samples))


def test_each_class_gives_its_share_to_the_validation_and_to_the_test() -> None:
    drawn = split(listed(100, 40, 12), val=0.25, test=0.1)
    assert counts(drawn, "val") == [25, 10, 3]
    assert counts(drawn, "test") == [10, 4, 1]
    assert counts(drawn, "train") == [65, 26, 8]


def test_small_classes_are_trained_first_then_validated_then_tested() -> None:
    for share in (0.01, 0.3, 0.49):
        drawn = split(listed(1, 2, 3), val=share, test=share)
        assert [counts(drawn, name) for name in ("train", "val", "test")] == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_samples() -> None:
    manifest = listed(30, 7)
    turned = replace(manifest, samples=manifest.samples[::-1])
    assert split(turned) == split(manifest)
    assert keys(split(manifest, seed=1), "val") != keys(split(manifest), "val")


def test_more_images_in_one_class_leave_the_others_as_they_were() -> None:
    before, after = (split(listed(30, count)) for count in (7, 9))
    assert [s for s in after.samples if s.label == 0] == [s for s in before.samples if s.label == 0]


def test_the_split_of_an_earlier_version_is_drawn_again() -> None:
    """A sweep goes on after an update only if its images are in the same splits."""
    source = listed(20, 10)
    grouped = replace(source, samples=tuple(replace(one, group=one.key[-1]) for one in source.samples))
    assert split(source).split_fingerprint == "599e2df6525d0e2b"
    assert split(grouped).split_fingerprint == "2f24953ca32e7fa8"


def test_an_official_split_is_kept_and_auto_takes_it() -> None:
    source = joined(listed(5, 5), listed(2, 1, split="val"), listed(3, 3, split="test"))
    for asked in ({}, {"by": "official"}, {"test": 0.5}):
        drawn = split(source, **asked)
        assert drawn.split_fingerprint == source.split_fingerprint


def test_a_test_is_taken_from_the_official_validation_images_and_not_from_train() -> None:
    source = joined(listed(5, 5), listed(8, 1, split="val"))
    drawn = split(source, test=0.5)
    assert keys(drawn, "train") == keys(source, "train")
    assert (counts(drawn, "val"), counts(drawn, "test")) == ([4, 1], [4, 0])


def test_a_test_of_the_source_stays_when_validation_images_are_drawn() -> None:
    source = joined(listed(10, 10), listed(4, 4, split="test"))
    for asked in ({}, {"test": 0.3}, {"folds": 5}):
        drawn = split(source, **asked)
        assert keys(drawn, "test") == keys(source, "test")
        assert counts(drawn, "val") == [2, 2]


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "groups"])
def test_over_all_folds_each_image_validates_once_and_the_test_never(grouped: bool) -> None:
    manifest = observers(3, images=400, classes=3) if grouped else listed(41, 22, 9)
    drawn = [split(manifest, folds=4, fold=fold, test=0.1) for fold in range(4)]
    tested = keys(drawn[0], "test")
    assert all(keys(one, "test") == tested for one in drawn)
    assert 0.05 < len(tested) / len(manifest.samples) < 0.15
    validated = Counter(key for one in drawn for key in keys(one, "val"))
    assert validated == {sample.key: 1 for sample in manifest.samples if sample.key not in tested}
    assert len({one.split_fingerprint for one in drawn}) == 4


def test_folds_are_of_one_size_in_every_class_and_in_all() -> None:
    drawn = [split(listed(41, 22, 9, 13), folds=5, fold=fold) for fold in range(5)]
    for label in range(4):
        sizes = [counts(one, "val")[label] for one in drawn]
        assert max(sizes) - min(sizes) <= 1
    assert all(15 <= len(keys(one, "val")) <= 19 for one in drawn)  # 85 images: 17 a fold


@pytest.mark.parametrize("asked", [{"by": "group"}, {"by": "auto", "test": 0.15}, {"folds": 5, "fold": 2}])
def test_a_group_is_never_torn_apart(asked: dict[str, Any]) -> None:
    drawn = split(observers(1), **asked)
    splits_of: dict[str, set[Split]] = {}
    for sample in drawn.samples:
        splits_of.setdefault(sample.group, set()).add(sample.split)
    assert all(len(found) == 1 for found in splits_of.values())
    assert {"train", "val"} <= set().union(*splits_of.values())


def test_grouped_classes_get_their_share_at_least_as_well_as_from_scikit_learn() -> None:
    ours, theirs = [], []
    for seed in range(3):
        manifest = observers(seed, images=600)
        labels = np.array([sample.label for sample in manifest.samples])
        groups = np.array([sample.group for sample in manifest.samples])
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        theirs += [_error(labels, np.bincount(labels[val], minlength=5)) for _, val in folds]
        ours += [_error(labels, np.array(counts(split(manifest, folds=5, fold=f), "val"))) for f in range(5)]
    assert np.mean(ours) <= np.mean(theirs)


def _error(labels: np.ndarray[Any, Any], val: np.ndarray[Any, Any]) -> float:
    """The mean over the classes of how far a fold's share of it is from a fifth."""
    return float(np.abs(val / np.bincount(labels, minlength=5) - 0.2).mean())


def test_a_share_is_met_by_groups_of_any_size() -> None:
    manifest = observers(2)
    totals = counts(manifest, "train")
    for share in (0.1, 0.33):
        drawn = counts(split(manifest, val=share), "val")
        assert [found / total for found, total in zip(drawn, totals, strict=True)] == pytest.approx(
            [share] * 5, abs=0.03
        )


def test_the_only_group_of_a_class_is_trained_on() -> None:
    source = listed(12, 6)
    samples = tuple(replace(s, group="one" if s.label == 1 else s.key[-1]) for s in source.samples)
    drawn = split(replace(source, samples=samples), val=0.5)
    assert (counts(drawn, "train")[1], counts(drawn, "val")[1]) == (6, 0)


def test_images_of_one_cell_of_the_map_stay_together() -> None:
    places = [(60.17, 24.93), (60.12, 24.99), (60.21, 24.93), (-0.05, 0.05), (None, None), (None, None)]
    source = listed(12, 12)
    samples = tuple(
        replace(sample, observation=Observation(*places[number % 6])) for number, sample in enumerate(source.samples)
    )
    source = replace(source, samples=samples)
    seeds = [split(source, by="location", cell=0.1, val=0.5, seed=seed) for seed in range(8)]
    for drawn in seeds:
        cells = {
            place: {s.split for s in drawn.samples if s.observation == Observation(*place)} for place in places[:4]
        }
        assert all(len(found) == 1 for found in cells.values())
        assert cells[60.17, 24.93] == cells[60.12, 24.99]
    # An image without a place is a group of its own, and the next cell of the map is another group.
    assert any(len({s.split for s in one.samples if s.observation == Observation()}) == 2 for one in seeds)
    assert any(
        {s.split for s in one.samples if s.observation == Observation(60.17, 24.93)}
        != {s.split for s in one.samples if s.observation == Observation(60.21, 24.93)}
        for one in seeds
    )


@pytest.mark.parametrize(
    ("source", "asked", "message"),
    [
        (
            joined(listed(3, 3), listed(1, 1, split="test")),
            {"by": "official"},
            "`data.split.by: official` needs a source with a validation split of its own, but this one has only "
            "`train`, `test`; draw one with `by: stratified`.",
        ),
        (
            listed(3, 3),
            {"by": "group"},
            "`data.split.by: group` needs images that tell their group (an observer, a specimen), but none of the 6 "
            "does; take `by: stratified`.",
        ),
        (
            listed(3, 3),
            {"by": "location"},
            "`data.split.by: location` needs images that tell their latitude and longitude, but none of the 6 does; "
            "take `by: stratified`, or name a CSV as `data.metadata`.",
        ),
        (
            listed(9, 4, 9),
            {"folds": 5},
            "Each class must have at least as many images as `data.split.folds`, 5, but `dog` has 4; ask for fewer "
            "folds, or leave the class out.",
        ),
        (
            replace(listed(9, 9), samples=tuple(replace(s, group=s.key[-1:]) for s in listed(9, 9).samples)),
            {"folds": 10},
            "Each class must have at least as many groups as `data.split.folds`, 10, but `cup` has 9; ask for fewer "
            "folds, or leave the class out.",
        ),
    ],
)
def test_what_cannot_be_done_is_told(source: Manifest, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        split(source, **asked)

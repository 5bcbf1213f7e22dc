from __future__ import annotations

from dataclasses import replace

import pytest

from sweeper.data.manifest import Manifest, Observation, Sample

SAMPLES = (
    Sample("a/0.jpg", 0, "train", "10:1"),
    Sample("a/1.jpg", 0, "val", "10:1"),
    Sample("b/0.jpg", 1, "train", "10:1"),
)
MANIFEST = Manifest(("a", "b"), SAMPLES)


def test_the_fingerprint_is_sixteen_hexadecimal_digits() -> None:
    assert len(MANIFEST.fingerprint) == 16
    assert int(MANIFEST.fingerprint, 16) >= 0


def test_the_fingerprint_does_not_depend_on_the_order_of_the_samples() -> None:
    assert Manifest(("a", "b"), SAMPLES[::-1]).fingerprint == MANIFEST.fingerprint


@pytest.mark.parametrize(
    "changed",
    [{"key": "a/2.jpg"}, {"label": 1}, {"stamp": "10:2"}, {"observation": Observation(60.2)}],
    ids=lambda c: next(iter(c)),
)
def test_the_fingerprint_changes_with_all_that_an_image_is(changed: dict[str, object]) -> None:
    first = replace(SAMPLES[0], **changed)  # type: ignore[arg-type]  # one field of each type
    assert Manifest(("a", "b"), (first, *SAMPLES[1:])).fingerprint != MANIFEST.fingerprint


def test_the_fingerprint_changes_with_a_class_name() -> None:
    assert Manifest(("a", "c"), SAMPLES).fingerprint != MANIFEST.fingerprint


def test_the_split_fingerprint_changes_with_the_splits_alone() -> None:
    first, *rest = SAMPLES
    other_split = Manifest(("a", "b"), (replace(first, split="test"), *rest))
    other_content = Manifest(("a", "c"), (*rest, replace(first, label=1, stamp="10:2")))
    assert other_split.fingerprint == MANIFEST.fingerprint
    assert other_split.split_fingerprint != MANIFEST.split_fingerprint
    assert other_content.split_fingerprint == MANIFEST.split_fingerprint

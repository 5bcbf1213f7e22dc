from __future__ import annotations

from sweeper.data.manifest import Sample
from sweeper.data.splits import split_off_val
from sweeper.spec.data import DigitsData


def _samples(*counts: int) -> list[Sample]:
    return [
        Sample(f"{label}/{number:03d}", label, "train", "")
        for label, count in enumerate(counts)
        for number in range(count)
    ]


def _val_counts(samples: list[Sample], classes: int) -> list[int]:
    return [sum(sample.label == label and sample.split == "val" for sample in samples) for label in range(classes)]


def test_each_class_gives_its_share() -> None:
    spec = DigitsData(source="digits", val_fraction=0.25)
    assert _val_counts(split_off_val(_samples(100, 40, 12), spec), 3) == [25, 10, 3]


def test_a_single_image_goes_to_train_and_two_are_shared() -> None:
    for fraction in (0.01, 0.5, 0.99):
        spec = DigitsData(source="digits", val_fraction=fraction)
        assert _val_counts(split_off_val(_samples(1, 2), spec), 2) == [0, 1]


def test_the_split_does_not_depend_on_the_order_of_the_samples() -> None:
    spec = DigitsData(source="digits")
    samples = _samples(30, 7)
    assert split_off_val(samples[::-1], spec) == split_off_val(samples, spec)


def test_more_images_in_one_class_leave_the_others_as_they_were() -> None:
    spec = DigitsData(source="digits")
    before = [sample for sample in split_off_val(_samples(30, 7), spec) if sample.label == 0]
    after = [sample for sample in split_off_val(_samples(30, 9), spec) if sample.label == 0]
    assert after == before

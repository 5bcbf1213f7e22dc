from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from sweeper.data.readers import read_manifest
from sweeper.spec.data import DigitsData
from sweeper.spec.split import SplitSpec


def test_the_digits_are_split_by_class_and_read_as_grey_rgb() -> None:
    manifest, source = read_manifest(DigitsData(source="digits"))
    assert manifest.classes == tuple("0123456789")
    assert len(manifest.samples) == 1797
    for label in range(10):
        of_class = [sample.split for sample in manifest.samples if sample.label == label]
        assert abs(of_class.count("val") / len(of_class) - 0.2) < 0.01
    sample = manifest.samples[42]
    image = source.read(sample, short_side=64)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image[..., 1], np.rint(load_digits().images[42] * 255 / 16))
    assert sample.label == load_digits().target[42]
    assert source.size(sample) == (8, 8)


def test_another_split_seed_draws_another_split() -> None:
    def val(seed: int) -> set[str]:
        manifest, _ = read_manifest(DigitsData(source="digits", split=SplitSpec(seed=seed)))
        return {sample.key for sample in manifest.samples if sample.split == "val"}

    assert val(0) == val(0)
    assert val(0) != val(1)

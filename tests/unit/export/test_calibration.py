"""One temperature makes probabilities mean what they say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax

from sweeper.export.calibration import calibrate, expected_calibration_error


def drawn(images: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits whose softmax is exactly how often each label occurs."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2.0, size=(images, 5))
    chances = softmax(logits, axis=1)
    return logits, np.array([rng.choice(5, p=row) for row in chances], dtype=np.int64)


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(overconfidence: float) -> None:
    logits, labels = drawn(4000)
    found = calibrate((logits * overconfidence).astype(np.float32), labels)
    assert found.temperature == pytest.approx(overconfidence, rel=0.06)
    assert found.ece_after < 0.05
    assert found.nll_after <= found.nll_before + 5e-3
    if overconfidence != 1.0:
        assert found.ece_before > 2 * found.ece_after


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10)
    labels = np.array([0] * 5 + [1] * 5)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.4)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0.0


def test_where_all_is_right_the_temperature_stays_above_zero() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]] * 4
    found = calibrate(logits, np.array([0, 1, 2, 0]))
    assert 0.05 <= found.temperature < 0.2
    assert calibrate(logits[:1], np.array([0])).ece_after < 0.1

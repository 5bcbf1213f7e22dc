from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeper.errors import ModelError
from sweeper.predictions import Predictions, PredictionsInfo, read_predictions, save_predictions


def made() -> Predictions:
    logits = np.array([[0.0, -1.5, -60000.0], [-0.25, 0.0, -3.0]], np.float16)
    return Predictions(
        logits=logits,
        labels=np.array([0, 2]),
        numbers=np.array([7, 3]),
        class_shares=np.array([0.5, 0.25, 0.25]),
        groups=np.array([[True, False, False], [False, True, True], [False, False, False]]),
        info=PredictionsInfo(
            epoch=4, tau=0.3, classes=("a", "b", "c"), data_fingerprint="0123", split_fingerprint="4567"
        ),
    )


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    said = made()
    save_predictions(said, tmp_path / "predictions.safetensors")
    read = read_predictions(tmp_path / "predictions.safetensors")
    assert read is not None
    assert read.info == said.info
    for name in ("logits", "labels", "numbers", "class_shares", "groups"):
        one, other = getattr(said, name), getattr(read, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_a_trial_without_predictions_has_none(tmp_path: Path) -> None:
    assert read_predictions(tmp_path / "predictions.safetensors") is None


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "predictions.safetensors"
    save_predictions(made(), path)
    path.write_bytes(path.read_bytes()[:-5])
    message = (
        f"`{path}` must be what a trial wrote of its validation images, but cannot be read (Error while deserializing "
        "header: incomplete metadata, file not fully covered); delete it to go on without."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        read_predictions(path)


def test_guesses_and_probabilities_follow_from_the_logits() -> None:
    said = made()
    assert said.guesses.tolist() == [0, 1]
    assert np.exp(said.log_probabilities).sum(axis=1) == pytest.approx([1.0, 1.0])
    assert said.log_probabilities[0, 0] == pytest.approx(-np.log1p(np.exp(-1.5)), abs=1e-6)


def test_only_trials_of_the_same_images_can_be_paired() -> None:
    said = made()
    assert said.is_of_same_images(made())
    assert not said.is_of_same_images(replace(said, numbers=np.array([3, 7])))
    other_split = said.info.model_copy(update={"split_fingerprint": "89ab"})
    assert not said.is_of_same_images(replace(said, info=other_split))


def test_reading_loads_no_torch(project: Path) -> None:
    script = (
        "import sys, sweeper.predictions; print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""What `mlflow models serve` asks of us: pictures in, species out, and nothing of a sweep's packages."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sweeper.errors import DataError
from sweeper.export import load_model
from sweeper.export.serving import _load_pyfunc, example
from sweeper.records import EpochMetrics


def test_a_picture_is_answered_as_predict_does(trial: tuple[Path, EpochMetrics], digits: Path) -> None:
    picture = digits / "val" / "digit 2" / "16.png"
    sent = pd.DataFrame({"image": [base64.b64encode(picture.read_bytes()).decode(), picture.read_bytes()]})
    one, other = _load_pyfunc(str(trial[0])).predict(sent, {"top_k": 2})
    (expected,) = load_model(trial[0]).predict([picture], top_k=2)
    assert one == other
    assert (one["label"], one["probability"]) == (expected.label, pytest.approx(expected.probability))
    assert [guess["label"] for guess in one["guesses"]] == [guess.label for guess in expected.guesses]


def test_the_example_is_a_picture(trial: tuple[Path, EpochMetrics]) -> None:
    (answer,) = _load_pyfunc(str(trial[0])).predict(pd.DataFrame({"image": [example()]}))
    assert len(answer["guesses"]) == 4  # of four classes, though five guesses are usual


def test_a_row_that_is_no_picture_is_named(trial: tuple[Path, EpochMetrics]) -> None:
    sent = pd.DataFrame({"image": [example(), "not base64!"]})
    message = "Row 1 of `image` must be the bytes of an image file, in base64, but is not ("
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        _load_pyfunc(str(trial[0])).predict(sent)


def test_serving_needs_no_package_of_a_sweep(project: Path) -> None:
    script = (
        "import sys, sweeper.export.serving\n"
        "print([name for name in ('ray', 'optuna', 'mlflow', 'sqlalchemy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

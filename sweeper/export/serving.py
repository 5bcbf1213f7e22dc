"""An exported model behind MLflow's own server: `mlflow models serve` imports this, and no Ray, Optuna or MLflow.

What it takes and gives is in docs/serving.md.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sweeper.errors import DataError
from sweeper.export.model import Model, Prediction, load_model

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "image"
"""Of the table that is sent: an image file's bytes, in base64 where JSON carries them."""
TOP_K = 5


class ServedModel:
    """Answers a table of encoded images with a table of species and probabilities."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Returns for each row `label`, `probability` and `guesses`.

        Args:
            model_input: a table with the column `image`.
            params: `top_k`, how many guesses an image gets.

        Raises:
            DataError: a row is no image.
        """
        images = [_decoded(row, number) for number, row in enumerate(model_input[COLUMN])]
        top_k = min(int((params or {}).get("top_k", TOP_K)), len(self._model.classes))
        return [_as_row(answer) for answer in self._model.predict(images, top_k=top_k)]


def _load_pyfunc(path: str) -> ServedModel:
    """Opens what `sweeper promote` registered; the name is MLflow's.

    Args:
        path: of the exported model in it.
    """
    return ServedModel(load_model(Path(path)))


def _as_row(answer: Prediction) -> dict[str, Any]:
    guesses = [{"label": one.label, "probability": one.probability} for one in answer.guesses]
    return {"label": answer.label, "probability": answer.probability, "guesses": guesses}


def _decoded(content: str | bytes, number: int) -> Image.Image:
    try:
        encoded = base64.b64decode(content, validate=True) if isinstance(content, str) else content
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError) as error:
        raise DataError(
            f"Row {number} of `{COLUMN}` must be the bytes of an image file, in base64, but is not ({error})."
        ) from error
    return image


def example() -> str:
    """Returns a small grey picture as it is sent, for whoever looks how to call the model."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 128, np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()

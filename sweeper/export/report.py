"""What an export wrote, and how each file of it compares with the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from sweeper.export.calibration import Calibration, Scores
from sweeper.export.info import ModelInfo, Origin


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Check(_Value):
    """One file against the original, image by image."""

    format: str
    """What opened it: `safetensors` (`sweeper.load_model`), `timm`, `torch`, `onnx` or `int8`."""
    file: str
    """Name of the file."""
    size_bytes: int
    max_difference: float
    """Largest difference of any logit of any image."""
    agreement: float
    """Share of the images for which both say the same class."""
    top1: float | None
    """Share of the images for which it says the right class; None where that is not known."""
    note: str = ""


class ExportReport(_Value):
    """All of an export."""

    folder: Path
    info: ModelInfo
    origin: Origin
    compared_on: str
    """Which images."""
    images: int
    """How many they are."""
    top1: float | None
    """The original's share of right answers on them."""
    calibration: Calibration | None
    """None where the right answers are not known: the temperature is 1 then."""
    checks: tuple[Check, ...]
    failures: dict[str, str]
    """Why a format could not be written, by its name."""


def compare(original: Scores, other: Scores, labels: npt.NDArray[np.int64] | None) -> tuple[float, float, float | None]:
    """Returns largest difference, agreement and top-1 of the other; arguments (N, C), (N, C), (N,)."""
    guesses = other.argmax(axis=1)
    return (
        float(np.abs(original - other).max()),
        float((original.argmax(axis=1) == guesses).mean()),
        top1_of(other, labels),
    )


def top1_of(logits: Scores, labels: npt.NDArray[np.int64] | None) -> float | None:
    """Returns the share of images whose best guess is right; None where the labels are not known."""
    return None if labels is None else float((logits.argmax(axis=1) == labels).mean())

"""What the best epoch of a trial said of each validation image: for intervals, comparisons and mixtures of models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sweeper.errors import ModelError
from sweeper.paths import Writer, written_aside

_INFO: Final = "info"
_TENSORS: Final = ("logits", "labels", "numbers", "class_shares", "groups")


class PredictionsInfo(BaseModel):
    """What the header of a predictions file says."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epoch: int
    """The epoch that said it."""
    tau: float | None
    """Of post-hoc logit adjustment, as that epoch chose it."""
    classes: tuple[str, ...]
    """Class names, in the order of the logits."""
    data_fingerprint: str
    """Of the images, their split and the way they are stored."""
    split_fingerprint: str
    """Of which image is in which split."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of N validation images over C classes.

    Example::

        said = read_predictions(sweep.trial(7).predictions)
        if said is not None:
            print((said.guesses == said.labels).mean())
    """

    logits: npt.NDArray[np.float16]
    """(N, C): each row's largest is 0, which no softmax sees, as float16 is most exact there."""
    labels: npt.NDArray[np.int64]
    """(N,): the right classes."""
    numbers: npt.NDArray[np.int64]
    """(N,): where each image stands among the `samples` of the data set's manifest."""
    class_shares: npt.NDArray[np.float64]
    """(C,): share of each class in what training showed."""
    groups: npt.NDArray[np.bool_]
    """(3, C): whether a class is in the head, the middle or the tail of the training images."""
    info: PredictionsInfo

    @cached_property
    def guesses(self) -> npt.NDArray[np.int64]:
        """(N,): the likeliest class of each image."""
        guesses: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return guesses

    @cached_property
    def log_probabilities(self) -> npt.NDArray[np.float32]:
        """(N, C): the logarithms of the softmax."""
        logits = self.logits.astype(np.float32)
        shares: npt.NDArray[np.float32] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return shares

    def is_of_same_images(self, other: Predictions) -> bool:
        """Whether row by row both are about the same images and classes, so that they can be compared in pairs."""
        return (
            self.info.split_fingerprint == other.info.split_fingerprint
            and self.info.classes == other.info.classes
            and np.array_equal(self.numbers, other.numbers)
            and np.array_equal(self.labels, other.labels)
        )


def save_predictions(predictions: Predictions, path: Path, *, written: Writer = written_aside) -> None:
    """Replaces the file at `path`, all or nothing."""
    tensors = {name: np.ascontiguousarray(getattr(predictions, name)) for name in _TENSORS}
    with written(path) as aside:
        save_file(tensors, aside, metadata={_INFO: predictions.info.model_dump_json()})


def read_predictions(path: Path) -> Predictions | None:
    """Returns what is in a predictions file; loads no torch.

    Returns:
        None where there is no such file: the trial is older than these files, ran elsewhere, or has too many images
        and classes (over 256 MiB).

    Raises:
        ModelError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            info = PredictionsInfo.model_validate_json(file.metadata()[_INFO])
            return Predictions(**{name: file.get_tensor(name) for name in _TENSORS}, info=info)
    except (SafetensorError, ValidationError, KeyError, TypeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"`{path}` must be what a trial wrote of its validation images, but cannot be read ({reason}); delete it "
            "to go on without."
        ) from error

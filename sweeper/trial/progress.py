"""Where an epoch was left when its machine had to go, so that another one goes on from the very step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far the training of an epoch is; with the learner's state, all that the rest of the epoch depends on.

    Which images come next is no part of it: that is a function of the seed, the epoch and the step.
    """

    losses: tuple[float, ...]
    """Of each optimiser step done, the mean over its images."""
    images: tuple[int, ...]
    """Images of each of them, in all processes."""
    lr: float
    """The largest learning rate of the last of them."""
    seconds: float
    """That they took."""
    generators: list[dict[str, Any]]
    """Where the global random generators of each process stood behind the last of them."""

    @property
    def steps(self) -> int:
        """Optimiser steps done in this epoch."""
        return len(self.losses)


class Left(Exception):
    """Training left an epoch because it was told to; `progress` is where."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self.progress = progress

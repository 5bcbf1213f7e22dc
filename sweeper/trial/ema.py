"""The weights that are evaluated: those being trained, or their running average."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, final

import torch
from timm.utils import ModelEmaV3
from torch import nn


class Average(ABC):
    """Follows a model in training and offers the weights to evaluate."""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """The model to evaluate and to keep."""

    @abstractmethod
    def update(self, trained: nn.Module, *, step: int) -> None:
        """Takes in the weights after optimiser step `step`, counted from 0."""

    @abstractmethod
    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns what must be saved besides the trained model."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Takes back what `state_dict` returned."""


@final
class NoAverage(Average):
    """Evaluates the trained weights themselves."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    @property
    def model(self) -> nn.Module:
        """The model in training."""
        return self._model

    def update(self, trained: nn.Module, *, step: int) -> None:
        """Does nothing."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns an empty state."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Does nothing."""


@final
class MovingAverage(Average):
    """An exponential moving average of weights and buffers (timm's ModelEmaV3).

    The decay is ramped up as 1 - (1 + step)^(-2/3) until it reaches `decay`: without that a short
    fine-tuning would be evaluated mostly with the new head's random weights.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._ema: Any = ModelEmaV3(model, decay=decay, use_warmup=True)

    @property
    def model(self) -> nn.Module:
        """The averaged copy."""
        module: nn.Module = self._ema.module
        return module

    def update(self, trained: nn.Module, *, step: int) -> None:
        """Moves the average towards `trained`."""
        self._ema.update(trained, step=step)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns the averaged weights and buffers."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from averaged weights and buffers."""
        self.model.load_state_dict(state)


def start_average(model: nn.Module, *, decay: float | None) -> Average:
    """Starts averaging `model` with `decay` a step; None does not average."""
    return NoAverage(model) if decay is None else MovingAverage(model, decay=decay)

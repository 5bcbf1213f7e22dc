"""A greedy soup: the mean of several trials' weights (Wortsman et al., "Model soups", 2022)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sweeper.backbones import SavedModel, read_saved_model, restore_weights
from sweeper.combine.judging import Judge, saying
from sweeper.errors import ModelError
from sweeper.export.model import info_of
from sweeper.export.networks import TorchNetwork
from sweeper.export.sources import ValidationSource, scores_of
from sweeper.paths import CachePaths, SweepPaths, TrialPaths, written_aside
from sweeper.predictions import Predictions
from sweeper.trial.checkpoint import save_weights
from sweeper.trial.device import Machine

Weights = dict[str, Tensor]
OnTaste = Callable[[int, bool], None]
"""Called with each trial that was tried, and whether it went in."""


@dataclass(frozen=True, eq=False)
class Soup:
    """The trials that went in, their mean weights, and what these say beside the first trial alone."""

    trials: tuple[int, ...]
    """The best single trial first."""
    weights: Weights
    said: Predictions
    single: Predictions
    """What the first trial says, asked in the same way."""


class Pot:
    """Asks mixtures of one architecture's weights about the validation images."""

    def __init__(self, saved: SavedModel, like: Predictions, machine: Machine, cache: CachePaths) -> None:
        """Builds the network and opens the images.

        Args:
            saved: any trial of the architecture.
            like: what it said, which tells the images' labels.
            machine: what to run on.
            cache: where decoded images lie.

        Raises:
            DataError: the images are not there any more.
            ModelError: they have other classes, or are others.
        """
        self._backbone = saved.build()
        self._source = ValidationSource(saved, self._backbone, info_of(saved, self._backbone), cache=cache)
        self._like = like
        self._machine = machine
        if not np.array_equal(self._source.labels, like.labels):
            raise ModelError("The validation images have changed since the sweep, so no soup can be judged by them.")

    def ask(self, weights: Mapping[str, Tensor]) -> Predictions:
        """Returns what the network says with these weights."""
        restore_weights(self._backbone, weights, source="a soup")
        self._backbone.eval()
        logits = scores_of(TorchNetwork(self._backbone.model, self._machine.device), self._source)
        return saying(logits, self._like)


def make_soup(paths: SweepPaths, numbers: Sequence[int], pot: Pot, judge: Judge, on_taste: OnTaste) -> Soup:
    """Adds one trial after another to the mean, and keeps each that the choosing images do not like less.

    Args:
        paths: of the sweep.
        numbers: trials of one architecture, the best first; the first is always in.
        pot: asks a mixture.
        judge: which images choose.
        on_taste: hears of each trial.
    """
    first, *others = numbers
    weights = load_file(paths.trial(first).best)
    single = said = pot.ask(weights)
    used: tuple[int, ...] = (first,)
    best = judge.chooses(said)
    for number in others:
        more = load_file(paths.trial(number).best)
        mixed = _with(weights, more, count=len(used)) if _is_alike(weights, more) else None
        tasted = pot.ask(mixed) if mixed is not None else None
        # Equal counts: of two that are right equally often the mean of more weights is the flatter minimum.
        is_in = tasted is not None and judge.chooses(tasted) >= best
        if mixed is not None and tasted is not None and is_in:
            weights, said, best, used = mixed, tasted, judge.chooses(tasted), (*used, number)
        on_taste(number, is_in)
    return Soup(used, weights, said, single)


def save_soup(soup: Soup, paths: SweepPaths, to: TrialPaths) -> None:
    """Writes the soup as a trial's folder, with the settings of its first trial."""
    first = paths.trial(soup.trials[0])
    header = read_saved_model(first.root).header
    about = {name: header[name] for name in ("classes", "image_size", "class_shares", "tau", "data_fingerprint")}
    with written_aside(to.config) as aside:
        aside.write_bytes(first.config.read_bytes())
    save_weights(soup.weights, to.best, about={**about, "soup": json.dumps(soup.trials)})


def _is_alike(one: Weights, other: Weights) -> bool:
    shapes = [{name: tensor.shape for name, tensor in weights.items()} for weights in (one, other)]
    return shapes[0] == shapes[1]


def _with(mean: Weights, more: Weights, *, count: int) -> Weights:
    """Returns the mean of `count` + 1 models, given that of the first `count`; counters stay those of the first."""
    return {
        name: torch.lerp(tensor, more[name], 1.0 / (count + 1)) if tensor.is_floating_point() else tensor
        for name, tensor in mean.items()
    }

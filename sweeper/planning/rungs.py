"""How many trials of a sweep are expected at each rung of its stop rule."""

from __future__ import annotations

import math
from collections import Counter

from pydantic import BaseModel, ConfigDict

from sweeper.spec.search import AshaSpec, HyperbandSpec, StopRule


class Rung(BaseModel):
    """An epoch at which trials are compared, and how many get there."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epoch: int
    trials: float
    """Trials expected to finish this epoch."""


def expected_rungs(rule: StopRule | None, *, trials: int, epochs: int) -> tuple[Rung, ...]:
    """Returns the rungs with the trials expected at each; the last is a whole trial.

    A rule that has no rungs is taken to stop nothing: an upper bound.

    Args:
        rule: the stop rule.
        trials: of the sweep.
        epochs: of a whole trial.
    """
    match rule:
        case AshaSpec(grace_epochs=grace, reduction=reduction):
            return _halving(trials, grace=grace, reduction=reduction, epochs=epochs)
        case HyperbandSpec(grace_epochs=grace, reduction=reduction):
            return _brackets(trials, grace=grace, reduction=reduction, epochs=epochs)
        case _:
            return (Rung(epoch=epochs, trials=trials),)


def expected_epochs(rungs: tuple[Rung, ...]) -> float:
    """Returns the epochs that all trials together are expected to run."""
    total, before = 0.0, 0
    for rung in rungs:
        total += rung.trials * (rung.epoch - before)
        before = rung.epoch
    return total


def _halving(trials: float, *, grace: int, reduction: int, epochs: int) -> tuple[Rung, ...]:
    """Asynchronous halving: the i-th trial at a rung goes on if it is one of the best i // reduction (at least one).

    If no order of arrival is likelier than another, that has the probability max(1, i // reduction) / i.
    """
    rungs, epoch, here = [], grace, trials
    while epoch < epochs:
        rungs.append(Rung(epoch=epoch, trials=here))
        here = sum(max(1, i // reduction) / i for i in range(1, round(here) + 1))
        epoch *= reduction
    return (*rungs, Rung(epoch=epochs, trials=here))


def _brackets(trials: int, *, grace: int, reduction: int, epochs: int) -> tuple[Rung, ...]:
    """Hyperband: bracket b begins `reduction`^b times later; trials are shared out as Optuna's pruner does it."""
    last = max(0, math.floor(math.log(epochs / grace) / math.log(reduction) + 1e-9))
    shares = [math.ceil((last + 1) * reduction ** (last - b) / (last - b + 1)) for b in range(last + 1)]
    found: Counter[int] = Counter()
    brackets = [
        _halving(trials * share / sum(shares), grace=grace * reduction**b, reduction=reduction, epochs=epochs)
        for b, share in enumerate(shares)
    ]
    for epoch in {rung.epoch for bracket in brackets for rung in bracket}:
        for bracket in brackets:
            # A bracket whose first rung is later has all of its trials here still.
            found[epoch] += next(rung.trials for rung in bracket if rung.epoch >= epoch)  # type: ignore[assignment]
    return tuple(Rung(epoch=epoch, trials=found[epoch]) for epoch in sorted(found))

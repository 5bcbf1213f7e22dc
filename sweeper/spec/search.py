"""The `search:` section: how points are chosen, when a trial is stopped early, and what counts as good."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from sweeper.spec.model import Section
from sweeper.spec.objectives import BoundSpec
from sweeper.spec.warm_start import WarmStartSpec

ObjectiveName = Literal[
    "top1",
    "top5",
    "macro_f1",
    "balanced_accuracy",
    "val_loss",
    "recall_head",
    "recall_middle",
    "recall_tail",
    "balanced_accuracy_adjusted",
]


class AshaSpec(Section):
    """Asynchronous successive halving: at each rung only the best 1/`reduction` go on (Li et al., 2020)."""

    grace_epochs: int = Field(default=1, ge=1)
    """Epochs every trial gets; the first rung. The next ones are `reduction` times further each."""
    reduction: int = Field(default=3, ge=2)
    """One in this many trials passes a rung."""
    exempt_every: int | None = Field(default=None, ge=0)
    """Every so-many-th trial runs to its end whatever its start; 0 for none. By default 8 with `curves`, else 0."""


class HyperbandSpec(Section):
    """Several successive halvings with different first rungs, trials shared among them (Li et al., 2018)."""

    grace_epochs: int = Field(default=1, ge=1)
    """First rung of the most eager bracket."""
    reduction: int = Field(default=3, ge=2)
    """One in this many trials passes a rung."""


class MedianSpec(Section):
    """Stops a trial whose best value so far is worse than the median of earlier trials at the same epoch."""

    grace_epochs: int = Field(default=1, ge=0)
    """Epochs no trial is stopped in."""
    startup_trials: int = Field(default=5, ge=1)
    """Trials that must have finished before any is stopped."""


StopRule = AshaSpec | HyperbandSpec | MedianSpec


class StopSpec(Section):
    """Exactly one early-stopping rule with its settings."""

    asha: AshaSpec | None = None
    """Asynchronous successive halving."""
    hyperband: HyperbandSpec | None = None
    """Hyperband."""
    median: MedianSpec | None = None
    """Median stopping."""

    @model_validator(mode="after")
    def names_one_rule(self) -> Self:
        """Two rules at once would have no meaning."""
        if sum(rule is not None for rule in (self.asha, self.hyperband, self.median)) != 1:
            raise ValueError("needs exactly one of `asha`, `hyperband`, `median`")
        return self

    @property
    def rule(self) -> StopRule | None:
        """The one rule that is set."""
        return self.asha or self.hyperband or self.median


def _name_or_settings(value: Any) -> str:
    return "name" if isinstance(value, str) else "settings"


Stop = Annotated[
    Annotated[Literal["none", "asha", "hyperband", "median"], Tag("name")] | Annotated[StopSpec, Tag("settings")],
    Discriminator(_name_or_settings),
]

_RULES: dict[str, type[StopRule]] = {"asha": AshaSpec, "hyperband": HyperbandSpec, "median": MedianSpec}


class BudgetSpec(Section):
    """What a sweep may use up, all its runs together; when any of it is, no new trial starts and the sweep is finished.

    Trials that run then are finished, so that a little more is used; only where the clock decides (`hours`, `money`)
    they end with the epoch they are in.
    """

    epochs: int | None = Field(default=None, ge=1)
    """Epochs of all trials together."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Hours that trials train and evaluate, each times its GPUs."""
    hours: float | None = Field(default=None, gt=0)
    """Hours on the clock, pauses between runs left out."""
    money: float | None = Field(default=None, gt=0)
    """Hours on the clock times `resources.price_per_hour`."""


class PatienceSpec(Section):
    """Ends the sweep when `trials` more would likely gain less than `gain`."""

    gain: float = Field(default=0.002, gt=0)
    """Of the objective, in its own unit: 0.002 of `top1` is 0.2 percent points."""
    trials: int = Field(default=20, ge=1)
    """How many trials ahead to look."""


class ConfirmSpec(Section):
    """The best trials run again over seeds, so that the winner is one and not a stroke of luck."""

    top: int = Field(default=3, ge=1)
    """How many of the leaderboard."""
    seeds: int = Field(default=5, ge=2)
    """How many fresh seeds each; clear losers get fewer."""
    test: bool = True
    """Whether the winner is then scored on the held-out test, where there is one: once."""


class SearchSpec(Section):
    """How the next point is chosen and what is optimised."""

    trials: int = Field(default=20, ge=1)
    """Trials in the sweep, seed points included; with `sampler: grid`, at most this many of the grid."""
    sampler: Literal["curves", "tpe", "random", "grid", "gp"] = "curves"
    """`curves` (a Gaussian process over points and epochs, which learns from stopped trials too), `tpe` (Parzen
    estimators), `gp` (Optuna's Gaussian process), `random`, or `grid` (every combination of finite parameters)."""
    cost_aware: bool = True
    """With `sampler: curves`, whether the improvement expected of a trial is set against the seconds it will take."""
    stop: Stop = "none"
    """Early stopping: a rule's name for its defaults, or `{asha: {grace_epochs: 2, reduction: 3}}`."""
    stop_diverged: bool = True
    """End a trial whose validation loss is twice that of guessing, and whose accuracy is no better, for two epochs."""
    objective: ObjectiveName = "top1"
    """The validation metric that ranks trials, each at its best epoch; `val_loss` is minimised, the rest maximised."""
    also: tuple[str, ...] = ()
    """Metrics that count besides `objective`, e.g. `[latency_ms]`: the search then looks for the best trade-offs."""
    constraints: dict[str, BoundSpec] = Field(default_factory=dict)
    """What a winner must keep to, e.g. `{latency_ms: {max: 20}, parameters: {max: 3.0e7}}`, at its best epoch."""
    prior: str = "auto"
    """`auto`: what is published for each backbone's family; `none`; or your own prior file, or a folder of them."""
    first_look: Literal[True, False, "auto"] = "auto"
    """Rank the backbones by a linear probe before the first trial; `auto` does where there is more than one."""
    warm_start: tuple[WarmStartSpec, ...] = ()
    """Earlier searches to learn from, also of other data."""
    budget: BudgetSpec = BudgetSpec()
    """What the sweep may use up besides `trials`, e.g. `{hours: 8}`."""
    patience: PatienceSpec | None = None
    """When to stop before the budget is used up, e.g. `{gain: 0.002, trials: 20}`; null never does."""
    confirm: ConfirmSpec | None = None
    """Ends the sweep by running its best trials over seeds, e.g. `{top: 3, seeds: 5}`; null leaves that to
    `sweeper confirm`."""
    storage: str | None = None
    """Optuna storage URL of the ledger, e.g. postgresql://...; by default `SWEEPER_STORAGE`, else an SQLite file in the
    sweep's folder."""

    @property
    def stop_rule(self) -> StopRule | None:
        """The early-stopping rule with its settings, or None."""
        if isinstance(self.stop, StopSpec):
            return self.stop.rule
        return _RULES[self.stop]() if self.stop in _RULES else None

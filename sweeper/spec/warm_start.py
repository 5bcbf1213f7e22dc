"""The entries of `search.warm_start`: earlier trials that a search learns from."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sweeper.spec.model import Section


class WarmStartSpec(Section):
    """One earlier search: `{sweep: davit}`, `{study: <url>, name: ...}` or `{mlflow: <uri>, experiment: ...}`."""

    sweep: str | None = None
    """An earlier sweep of this workspace by its name, or any by its folder."""
    study: str | None = None
    """Storage URL of an Optuna study that maximises or minimises the same objective."""
    name: str | None = None
    """Name of that study."""
    mlflow: str | None = None
    """URI of an MLflow store, e.g. `sqlite:///mlflow.db`; runs that have the objective among their metrics count."""
    experiment: str | None = None
    """Name of the experiment there."""
    weight: float | None = Field(default=None, gt=0.0, le=1.0)
    """How much it counts, 1 as much as a trial of this sweep; null takes what data and backbone have in common."""

    @model_validator(mode="after")
    def names_one_source(self) -> Self:
        """Two sources in one entry would have one weight."""
        if sum(source is not None for source in (self.sweep, self.study, self.mlflow)) != 1:
            raise ValueError("a warm start needs exactly one of `sweep`, `study`, `mlflow`")
        if (self.study is None) != (self.name is None):
            raise ValueError("a warm start needs `study` and `name` together")
        if (self.mlflow is None) != (self.experiment is None):
            raise ValueError("a warm start needs `mlflow` and `experiment` together")
        return self

    @property
    def label(self) -> str:
        """What the source is called where it is shown; no address, so no password."""
        return self.sweep or self.name or self.experiment or ""

"""A prior file: what is believed of a family of backbones before anything was trained."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from sweeper.records import ParamValue
from sweeper.spec.model import Section
from sweeper.spec.space import AllowedValues


class BeliefSpec(Section):
    """Where the good values of one setting are: `{likely: [5.0e-5, 5.0e-4], source: ...}`."""

    likely: tuple[float, float] | None = None
    """Two of three good values lie in it; the scale, logarithmic or not, is that of the sweep's own range."""
    weights: dict[str, Annotated[float, Field(gt=0.0)]] = Field(default_factory=dict)
    """How much likelier each option of a choice is than one that is not named, which has 1."""
    when: dict[str, AllowedValues] = Field(default_factory=dict)
    """Settings and the values they must have for the belief to hold, searched or not."""
    source: str = Field(min_length=1)
    """Where it comes from: paper and table, or the recipe's file."""

    @model_validator(mode="after")
    def says_one_thing(self) -> Self:
        """A belief is about a range or about options."""
        if (self.likely is None) == (not self.weights):
            raise ValueError("a belief needs `likely` or `weights`, one of the two")
        if self.likely is not None and not self.likely[0] < self.likely[1]:
            raise ValueError(f"a belief needs low < high, but got [{self.likely[0]:g}, {self.likely[1]:g}]")
        return self


class FirstPointSpec(Section):
    """A point that is worth a trial of its own."""

    point: dict[str, ParamValue] = Field(min_length=1)
    """Settings by the names of `space`; those that a sweep does not search are left out."""
    source: str = Field(min_length=1)
    """Where it comes from."""


class PriorSpec(Section):
    """One file: a family of backbones, its beliefs and its first points."""

    family: str = Field(min_length=1)
    """What the family is called where its prior is shown."""
    match: tuple[str, ...] = Field(min_length=1)
    """Patterns of backbone names, as in `overrides`; of all files the longest pattern that matches decides."""
    beliefs: dict[str, BeliefSpec] = Field(default_factory=dict)
    """By the name of the setting, as in `space`."""
    points: tuple[FirstPointSpec, ...] = ()
    """In the order they should run."""

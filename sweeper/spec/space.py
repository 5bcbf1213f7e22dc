"""One searched parameter: its distribution, and when it applies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from sweeper.records import ParamValue
from sweeper.spec.model import Section


def _one_or_many(value: Any) -> Any:
    """Lets `when: {backbone: vit}` stand for `when: {backbone: [vit]}`."""
    return value if isinstance(value, (list, tuple)) else [value]


AllowedValues = Annotated[tuple[ParamValue, ...], Field(min_length=1), BeforeValidator(_one_or_many)]


class _Parameter(Section):
    when: dict[str, AllowedValues] = Field(default_factory=dict)
    """Other parameters and the values they must have for this one to apply; left out otherwise."""

    def applies(self, chosen: Mapping[str, ParamValue]) -> bool:
        """Whether all conditions hold for the values chosen so far; a missing parent means no."""
        return all(name in chosen and chosen[name] in allowed for name, allowed in self.when.items())


class _Range(_Parameter):
    @field_validator("bounds", check_fields=False)
    @classmethod
    def low_is_below_high(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        """A range holds more than one value."""
        low, high = bounds
        if not low < high:
            raise ValueError(f"a range needs low < high, but got [{low}, {high}]; one value is `{{fixed: {low}}}`")
        return bounds

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value, both included."""
        raise NotImplementedError

    def contains(self, value: ParamValue) -> bool:
        """Whether `value` could be drawn."""
        low, high = self.ends
        return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


class Uniform(_Range):
    """A real number, every value as likely as any other: `{uniform: [0.6, 1.0]}`."""

    bounds: tuple[float, float] = Field(alias="uniform")
    """[low, high], both included."""

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value, both included."""
        return self.bounds


class LogUniform(_Range):
    """A positive real number, every order of magnitude as likely as any other: `{log: [3.0e-5, 1.0e-3]}`."""

    bounds: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(alias="log")
    """[low, high], both included, above 0."""

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value, both included."""
        return self.bounds


class IntUniform(_Range):
    """A whole number, every value as likely as any other: `{int: [0, 4]}`."""

    bounds: tuple[int, int] = Field(alias="int")
    """[low, high], both included."""

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest value, both included."""
        return self.bounds

    def contains(self, value: ParamValue) -> bool:
        """Whether `value` could be drawn."""
        return isinstance(value, int) and super().contains(value)


class LogInt(IntUniform):
    """A positive whole number, every order of magnitude as likely as any other: `{log_int: [8, 256]}`."""

    bounds: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = Field(alias="log_int")
    """[low, high], both included, above 0."""


class Choice(_Parameter):
    """One of a list, without an order: `{choice: [none, 3a, rand-m9]}`."""

    options: tuple[ParamValue, ...] = Field(alias="choice", min_length=1)
    """The values; no two alike."""

    @model_validator(mode="after")
    def options_differ(self) -> Self:
        """Optuna counts categories by position; a value listed twice would be drawn twice as often."""
        for index, option in enumerate(self.options):
            if option in self.options[:index]:
                raise ValueError(f"a choice needs distinct values, but got `{option}` twice")
        return self

    @property
    def ends(self) -> tuple[ParamValue, ...]:
        """Every value."""
        return self.options

    def contains(self, value: ParamValue) -> bool:
        """Whether `value` could be drawn."""
        return value in self.options


class Fixed(_Parameter):
    """One value, perhaps under a condition: `{fixed: 0.1, when: {backbone: vit_tiny}}`."""

    value: ParamValue = Field(alias="fixed")
    """The value."""

    @property
    def ends(self) -> tuple[ParamValue, ...]:
        """The value."""
        return (self.value,)

    def contains(self, value: ParamValue) -> bool:
        """Whether `value` is the value."""
        return value == self.value


_KINDS: Final[dict[type, str]] = {
    Uniform: "uniform",
    LogUniform: "log",
    IntUniform: "int",
    LogInt: "log_int",
    Choice: "choice",
    Fixed: "fixed",
}
PARAMETER_KINDS: Final = tuple(_KINDS.values())
"""The words that say what kind of parameter a mapping is."""


def _kind(value: Any) -> str | None:
    if isinstance(value, Mapping):
        found = [word for word in PARAMETER_KINDS if word in value]
        return found[0] if len(found) == 1 else None
    return _KINDS.get(type(value))


Parameter = Annotated[
    Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("log")]
    | Annotated[IntUniform, Tag("int")]
    | Annotated[LogInt, Tag("log_int")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[Fixed, Tag("fixed")],
    Discriminator(_kind),
]

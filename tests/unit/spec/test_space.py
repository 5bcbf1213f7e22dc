"""Distributions: what they contain and when they apply."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from sweeper.records import ParamValue
from sweeper.spec.space import Parameter

ADAPTER: TypeAdapter[Parameter] = TypeAdapter(Parameter)


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [
        ({"uniform": [0, 1]}, [0, 0.5, 1], [-0.1, 1.1, "0.5", True]),
        ({"log": [0.1, 1]}, [0.1, 1], [0.05, None]),
        ({"int": [0, 4]}, [0, 4], [5, 2.5, "2"]),
        ({"log_int": [8, 64]}, [8, 64], [7, 65]),
        ({"choice": ["a", 1, None]}, ["a", 1, None], ["b"]),
        ({"fixed": 0.1}, [0.1], [0.2]),
    ],
)
def test_a_distribution_contains_what_it_can_draw(
    written: dict[str, object], inside: list[ParamValue], outside: list[ParamValue]
) -> None:
    parameter = ADAPTER.validate_python(written)
    assert all(parameter.contains(value) for value in inside)
    assert not any(parameter.contains(value) for value in outside)


def test_a_condition_asks_for_all_its_parents() -> None:
    parameter = ADAPTER.validate_python({"fixed": 1, "when": {"a": [1, 2], "b": "x"}})
    assert parameter.applies({"a": 2, "b": "x"})
    assert not parameter.applies({"a": 3, "b": "x"})
    assert not parameter.applies({"a": 1})


def test_a_choice_with_a_value_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="a choice needs distinct values, but got `a` twice"):
        ADAPTER.validate_python({"choice": ["a", "a"]})

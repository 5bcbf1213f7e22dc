"""Errors travel between Ray's processes and say which exit code they mean."""

from __future__ import annotations

import pickle

import pytest

from sweeper import errors


def all_errors(root: type[errors.SweeperError] = errors.SweeperError) -> list[type[errors.SweeperError]]:
    """The public tree; a package may have errors of its own that never leave it."""
    public = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(found for child in public for found in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors())
def test_an_error_survives_a_pickle_and_stands_in_the_tree(kind: type[errors.SweeperError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a rule, a value.")))
    assert type(error) is kind
    assert str(error) == "a rule, a value."
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind.exit_code == (2 if issubclass(kind, errors.InputError) else 1)


def test_near_names_are_offered_and_far_ones_are_not() -> None:
    assert errors.nearest("layer_deca", ["layer_decay", "lr"]) == "; did you mean `layer_decay`?"
    assert errors.nearest("zzz", ["layer_decay", "lr"]) == ""

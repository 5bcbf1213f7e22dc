"""The edge: commands are found, errors become sentences and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Sweeper = Callable[..., Any]


def test_help_lists_every_command(sweeper: Sweeper) -> None:
    answer = sweeper("--help")
    assert answer.code == 0
    for command in ("validate", "run", "resume", "status", "stop", "leaderboard", "data", "ui"):
        assert f"\n  {command} " in answer.out


def test_an_unknown_command_is_told_with_the_nearest(sweeper: Sweeper) -> None:
    answer = sweeper("leaderbord")
    assert answer.code == 2
    assert "There is no command `leaderbord`; did you mean `leaderboard`?" in answer.err


def test_an_unknown_option_is_the_users_input(sweeper: Sweeper) -> None:
    assert sweeper("validate", "--nonsense").code == 2


def test_validate_sums_a_file_up(sweeper: Sweeper) -> None:
    answer = sweeper("validate", "tiny.yaml")
    assert (answer.code, answer.out) == (
        0,
        "tiny.yaml is right: sweep `tiny` searches lr over 1 trials of at most 1 epochs on test_efficientnet.\n",
    )
    assert sweeper("validate").code == 2


def test_the_schema_documents_every_field_by_its_docstring(sweeper: Sweeper) -> None:
    schema = json.loads(sweeper("validate", "--schema").out)
    train = schema["$defs"]["TrainSpec"]["properties"]
    assert all("description" in field for field in train.values())
    assert train["layer_decay"]["description"].startswith("Learning rate of a stage over that of the stage after it")


@pytest.mark.parametrize("command", ["status", "leaderboard", "resume", "stop", "ui"])
def test_a_sweep_that_does_not_exist_is_told(sweeper: Sweeper, command: str) -> None:
    answer = sweeper(command, "nowhere")
    assert answer.code == 2
    assert answer.err.startswith("sweeper: There is no sweep `nowhere` in ")

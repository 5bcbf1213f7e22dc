"""`sweeper leaderboard`, on a sweep made by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.answers import made_sweep
from tests.unit.cli.conftest import Answer

Sweeper = Callable[..., Answer]

WRONG = [range(60), range(20), range(22), range(90)]


@pytest.fixture
def made(sweeper: Sweeper) -> None:
    points = [{"backbone": name} for name in ("vit_a", "vit_a", "vit_b", "vit_b")]
    made_sweep(Path("sweeps"), WRONG, points=points, space={"backbone": {"choice": ["vit_a", "vit_b"]}})


@pytest.mark.usefixtures("made")
def test_it_says_how_sure_it_is_and_who_is_level(sweeper: Sweeper) -> None:
    answer = sweeper("leaderboard", "made")
    assert answer.code == 0, answer.err
    assert "200 validation images know the best trial's top-1 0.9000 to about plus or minus 0.042." in answer.out
    assert "They cannot tell trial 1 from 2; `sweeper confirm` runs the best over seeds." in answer.out
    board = json.loads(sweeper("leaderboard", "made", "--json").out)
    assert [(row["number"], row["is_level"]) for row in board["rows"]] == [(1, True), (2, True), (0, False), (3, False)]


@pytest.mark.usefixtures("made")
def test_csv_has_a_line_a_trial(sweeper: Sweeper) -> None:
    rows = list(csv.DictReader(io.StringIO(sweeper("leaderboard", "made", "--csv", "--limit", "2").out)))
    assert [(row["trial"], row["top1"], row["backbone"]) for row in rows] == [
        ("1", "0.9", "vit_a"),
        ("2", "0.89", "vit_b"),
    ]
    assert float(rows[0]["low"]) < 0.9 < float(rows[0]["high"])
    answer = sweeper("leaderboard", "made", "--csv", "--json")
    assert (answer.code, "`--csv` goes with neither `--json` nor `--by`." in answer.err) == (2, True)


@pytest.mark.usefixtures("made")
def test_backbones_are_compared(sweeper: Sweeper) -> None:
    groups = json.loads(sweeper("leaderboard", "made", "--by", "backbone", "--json").out)["groups"]
    assert [(one["value"], one["best"]["number"], one["median"]) for one in groups] == [
        ("vit_a", 1, pytest.approx(0.8)),
        ("vit_b", 2, pytest.approx(0.72)),
    ]
    assert "middle half" in sweeper("leaderboard", "made", "--by", "backbone").out


@pytest.mark.usefixtures("made")
def test_short_lines_keep_what_ranks(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.cli.boards._PLAIN_WIDTH", 70)
    answer = sweeper("leaderboard", "made")
    table = answer.out.split("200 validation images")[0]
    assert max(map(len, table.splitlines())) <= 70
    assert "0.8550-0.9400" in table or "95 %" in table
    assert "Left out, as the lines are short: " in answer.out

"""A live sweep is paused, goes on, and loses one trial, all from another terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_a_paused_sweep_frees_its_workers_and_goes_on(sweeper: Any) -> None:
    driver = sweeper.start("run", "tiny.yaml", "--set", "search.trials=2", "--set", "train.epochs=12")
    sweeper.wait_for(driver, "trial 1  epoch 1")
    assert "starts nothing more" in sweeper.run("pause", "tiny").stdout
    sweeper.wait_for(driver, "It was paused by `sweeper pause`")
    status = json.loads(sweeper.run("status", "tiny", "--json").stdout)
    assert status["paused"] == "It was paused by `sweeper pause`; `sweeper resume tiny` goes on."
    assert status["running"] == []
    assert not [p for p in sweeper.children(driver) if "ray::ResourceTrainable" in " ".join(p.cmdline())]
    assert "trial 1" in sweeper.run("stop", "tiny", "--trial", "1").stdout.lower()
    assert sweeper.run("resume", "tiny").stdout == "tiny goes on, where it runs.\n"
    assert driver.wait(timeout=300) == 0
    rows = json.loads(sweeper.run("leaderboard", "tiny", "--json").stdout)["rows"]
    assert {row["number"]: row["state"] for row in rows} == {0: "complete", 1: "stopped"}
    assert next(row["epochs"] for row in rows if row["number"] == 0) == 12

"""A sweep's own Ray loses its only node: without another one Tune would wait for ever."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.folder import read_spec
from sweeper.paths import SweepPaths
from sweeper.records import TrialState
from sweeper.search import open_ledger, storage_url

pytestmark = pytest.mark.slow


def test_ray_is_started_again_when_its_node_dies_and_the_trial_goes_on(sweeper: Any) -> None:
    driver = sweeper.start("run", "tiny.yaml", "--set", "search.trials=1", "--set", "train.epochs=10")
    sweeper.wait_for(driver, "trial 0  epoch 2")
    node = [process for process in sweeper.children(driver) if process.name().startswith(("raylet", "ray::"))]
    for process in node:  # a worker alone would live on for the seconds that Ray takes to miss its raylet
        process.kill()
    sweeper.wait_for(driver, "Ray Tune stopped (Ray's node on this machine died); going on from the ledger.")
    sweeper.children(driver)
    assert driver.wait(240) == 0, sweeper.progress()

    paths = SweepPaths(sweeper.folder / "sweeps/tiny")
    spec = read_spec(paths)
    (record,) = open_ledger(spec, storage_url(spec, paths), create=False).records()
    assert record.state is TrialState.COMPLETE
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, 11))
    assert sweeper.progress().count("epoch 10") == 1

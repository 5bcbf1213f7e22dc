"""Memory that runs short: workers that Ray ends for it are not replaced at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import ray
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from sweeper.driver.adapters import LedgerScheduler
from sweeper.driver.shortage import Shortage

KILL = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 127.0.0.1) was "
    "10.65GB used / 23.54GB limit (0.452537)"
)


def test_nothing_starts_for_longer_each_time_until_an_epoch_ends() -> None:
    now = 0.0
    shortage = Shortage(clock=lambda: now)
    assert not shortage.lasts
    assert shortage.met("The actor died because its node has died.") is None
    assert not shortage.lasts
    assert shortage.met(KILL) == (
        "Memory ran short (10.65GB used / 23.54GB limit), and Ray ended a worker for it; no trial starts for 15 s."
    )
    now = 14.0
    shortage.met(KILL)  # another worker of the same moment
    assert shortage.lasts
    now = 15.0
    assert not shortage.lasts
    pauses = []
    for _ in range(5):
        start = now
        shortage.met(KILL)
        while shortage.lasts:
            now += 1
        pauses.append(now - start)
    assert pauses == [30, 60, 120, 240, 240]
    shortage.passed()
    shortage.met(KILL)
    now += 15
    assert not shortage.lasts


@pytest.mark.usefixtures("local_ray")
def test_what_ray_says_of_a_lost_worker_reaches_the_attempts(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []

    class Listening:
        def worker_ended(self, name: str, message: str) -> None:
            heard.append((name, message))

    storage = StorageContext(str(tmp_path), experiment_dir_name="run", trial_dir_name="one")
    trial = Trial("worker", trial_id="one", stub=True, storage=storage)
    Path(trial.local_path).mkdir(parents=True)
    trial.handle_error(ray.exceptions.OutOfMemoryError(KILL))  # as Tune's controller does before it asks the scheduler
    LedgerScheduler(cast(Any, Listening())).on_trial_error(None, trial)
    ((name, message),) = heard
    assert name == "one"
    assert Shortage().met(message) is not None

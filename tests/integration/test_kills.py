"""SIGKILL for the driver, a worker, the node and all of them, at random moments and at writes: all is exact."""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.integration.exactness import CLOCK, draw_images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("SWEEPER_CHAOS"), reason="starts Ray eight times; SWEEPER_CHAOS=1 runs it"),
]

SPEC = """\
name: sweep
data: {source: folder, root: ../images, image_size: 32, store_size: 32}
backbone: test_efficientnet
weights: random
train: {epochs: 12, batch_size: 4, warmup_epochs: 0.5}
augment: {hflip: 0.0}
space:
  lr: {log: [1.0e-4, 1.0e-3]}
  layer_decay: {uniform: [0.7, 1.0]}
  weight_decay: {uniform: [0.0, 0.1]}
search: {trials: 5, sampler: curves, cost_aware: false, stop: {asha: {grace_epochs: 6, reduction: 2}}}
resources: {max_concurrent: 1, retries: 100}
"""
TRIALS = 5


class Lives:
    """The successive drivers of one sweep, each ended by a kill, and what they left behind."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.sweep = folder / "sweeps" / "sweep"
        self._plan = folder / "plan.json"
        self._cache = cache
        self._log = folder / "progress.log"
        self._log.touch()
        self._seen: set[psutil.Process] = set()
        self.driver: subprocess.Popen[str] | None = None
        self.kills = 0
        (folder / "sweep.yaml").write_text(SPEC)

    def live(self) -> subprocess.Popen[str]:
        """Starts a driver, if none runs; what earlier ones left behind is still there."""
        if self.driver is None or self.driver.poll() is not None:
            arguments = ["resume", "sweep"] if (self.sweep / "resolved.yaml").exists() else ["run", "sweep.yaml"]
            places = [str(Path(__file__).parent / "faults"), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = {
                "FAULT_PLAN": str(self._plan), "PYTHONPATH": os.pathsep.join(places), "SWEEPER_CACHE": str(self._cache),
                "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            log = self._log.open("a")
            command = [sys.executable, "-m", "sweeper", *arguments]
            self.driver = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, text=True, env=os.environ | environment
            )
        return self.driver

    def die_at(self, role: str, kind: str, moment: str, *, call: int) -> None:
        """Plans a death and waits for it."""
        plan = {"id": uuid.uuid4().hex, "role": role, "kind": kind, "moment": moment, "call": call}
        self._plan.with_suffix(".new").write_text(json.dumps(plan))
        self._plan.with_suffix(".new").replace(self._plan)
        driver = self.live()
        while self._plan.exists():
            self._look(driver)
            if driver.poll() is not None:
                # Over before the write came: the sweep is finished, or the plan was never reached.
                assert driver.returncode == 0, self.progress()
                self._plan.unlink()
                return
        self.kills += 1
        if role == "driver":
            driver.wait(60)

    def kill(self, what: str, *, after: float) -> None:
        """Kills what is named some seconds after the driver has begun to train."""
        driver = self.live()
        begun = self._begun()
        while self._begun() == begun and driver.poll() is None:
            self._look(driver)
        end = time.monotonic() + after
        while time.monotonic() < end and driver.poll() is None:
            self._look(driver)
        if driver.poll() is not None:
            return
        family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        if what == "driver":
            family = family[:1]
        elif what == "node":
            family = [process for process in family if process.name().startswith(("raylet", "ray::"))]
        elif what == "worker":
            family = [process for process in family if "ray::ResourceTrainable" in " ".join(process.cmdline())]
        for process in family:
            process.kill()
        self.kills += 1
        if what in ("driver", "all"):
            driver.wait(120)

    def finish(self) -> None:
        """Lets the sweep come to its end."""
        driver = self.live()
        while driver.poll() is None:
            self._look(driver)
        assert driver.returncode == 0, self.progress()

    def finished(self) -> dict[int, int]:
        """The trials that are over, and how often each was started."""
        if not (self.sweep / "study.db").exists():
            return {}
        with sqlite3.connect(self.sweep / "study.db") as ledger:
            rows = ledger.execute(
                "select number, value_json from trials join trial_user_attributes using (trial_id) "
                "where key = 'attempts' and state in ('COMPLETE', 'PRUNED', 'FAIL')"
            ).fetchall()
        return {int(number): int(value) for number, value in rows}

    def end_leftovers(self) -> None:
        """Ends what is left of all lives."""
        for process in self._seen:
            if process.is_running():
                process.kill()

    def progress(self) -> str:
        return self._log.read_text()

    def _begun(self) -> int:
        return sum(log.read_text().count("Begin ") for log in self.sweep.glob("trials/*/trial.log"))

    def _look(self, driver: subprocess.Popen[str]) -> None:
        with suppress(psutil.NoSuchProcess):
            self._seen.update(psutil.Process(driver.pid).children(recursive=True))
        time.sleep(0.05)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Any]:
    started: list[Lives] = []
    draw_images(tmp_path / "images")

    def start(name: str) -> Lives:
        (tmp_path / name).mkdir()
        started.append(Lives(tmp_path / name, tmp_path / "cache"))
        return started[-1]

    yield start
    for one in started:
        if one.driver is not None:
            one.driver.kill()
            one.driver.wait()
        one.end_leftovers()


def trials(lives: Lives) -> list[dict[str, Any]]:
    """What the ledger says of each trial, without what a clock measures."""
    from sweeper.folder import read_spec
    from sweeper.paths import SweepPaths
    from sweeper.search import open_ledger, storage_url

    paths = SweepPaths(lives.sweep)
    spec = read_spec(paths)
    ledger = open_ledger(spec, storage_url(spec, paths), create=False)
    return [
        {
            "params": record.params,
            "state": record.state.value,
            "epochs": [epoch.model_dump(exclude=CLOCK) for epoch in record.epochs],
        }
        for record in ledger.records()
    ]


def check_same_weights(one: Lives, other: Lives) -> None:
    for path in one.sweep.glob("trials/*/best.safetensors"):  # those of the best trials are kept
        first, second = (load_file(x.sweep / "trials" / path.parent.name / path.name) for x in (one, other))
        assert first.keys() == second.keys()
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def check_mlflow(lives: Lives, ledger: list[dict[str, Any]]) -> None:
    """Every metric of every epoch is there once, and every run is over."""
    client = mlflow.MlflowClient(f"sqlite:///{lives.folder}/sweeps/mlflow.db")
    experiment = client.get_experiment_by_name("sweep")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert not any(run.info.status == "RUNNING" for run in runs)
    by_trial = {int(run.data.tags["sweeper.trial"]): run for run in runs if "sweeper.trial" in run.data.tags}
    assert len(runs) == TRIALS + 1
    for number, record in enumerate(ledger):
        run = by_trial[number]
        assert run.info.status == ("FAILED" if record["state"] == "failed" else "FINISHED")
        steps = list(range(1, len(record["epochs"]) + 1))
        for key in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, key)
            found = [point.step for point in points]
            assert found == sorted(set(found))
            assert key == "best_top1" or found == steps


def begun_epochs(lives: Lives, number: int) -> Counter[int]:
    log = (lives.sweep / f"trials/{number:04d}/trial.log").read_text()
    return Counter(int(epoch) for epoch in re.findall(r"Begin (\d+)\.", log))


def test_a_sweep_on_ray_whose_processes_are_killed_equals_one_that_was_left_alone(lives: Any) -> None:
    killed, undisturbed = lives("killed"), lives("undisturbed")
    undisturbed.finish()

    draws = random.Random(2026)
    plans: list[tuple[str, ...]] = [
        ("driver",), ("worker",), ("node",), ("worker", "move", "after"), ("all",), ("driver", "ledger", "after"),
    ]  # fmt: skip
    over: dict[int, int] = {}
    for plan in plans:
        if len(plan) == 3:
            killed.die_at(*plan, call=draws.randint(2, 6))
        else:
            killed.kill(plan[0], after=draws.uniform(0.0, 1.5))
        now = killed.finished()
        assert all(now[number] == attempts for number, attempts in over.items()), "a finished trial was started again"
        over = now
    killed.finish()

    assert killed.kills == len(plans)
    expected = trials(undisturbed)
    assert trials(killed) == expected
    check_same_weights(killed, undisturbed)
    check_mlflow(killed, expected)
    # A kill costs no more than the epoch that was being trained.
    repeated = 0
    for number, record in enumerate(expected):
        begun = begun_epochs(killed, number)
        assert sorted(begun) == list(range(1, len(record["epochs"]) + 1))
        repeated += begun.total() - len(begun)
    assert repeated <= killed.kills
    assert sorted(killed.finished()) == list(range(TRIALS))

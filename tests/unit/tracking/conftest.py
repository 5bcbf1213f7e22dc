"""A real MLflow store, a real server on it, and sweeps to write."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeper.paths import Workspace
from sweeper.records import EpochMetrics, Failure, TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.spec.data import DigitsData
from sweeper.spec.tracking import TrackingSpec
from sweeper.spec.training import TrainSpec
from sweeper.tracking import SweepInfo, Tracker, UiServer, capture_environment, choose_uri, open_tracker, serve_ui
from sweeper.tracking.client import open_client
from sweeper.tracking.server import _free_port


def make_epoch(number: int, **changed: float) -> EpochMetrics:
    values = {
        "top1": 0.5 + number / 100, "top5": 0.9, "macro_f1": 0.4, "balanced_accuracy": 0.45, "val_loss": 1 / number,
        "train_loss": 2 / number, "lr": 1e-3, "train_seconds": 2.0, "eval_seconds": 0.5, "images_per_second": 100.0,
        "peak_memory_mb": 512.0, "recall_head": 0.6, "recall_middle": 0.5, "recall_tail": 0.2, "tau": 0.5,
        "balanced_accuracy_adjusted": 0.5, "top1_adjusted": 0.5, "parameters": 4_000_000, "latency_ms": 12.0,
        "micro_batch": 32, "gpus": 0.5,
    }  # fmt: skip
    return EpochMetrics.model_validate({"epoch": number, **values, **changed})


def make_record(number: int, state: TrialState = TrialState.RUNNING, epochs: int = 0, **changed: Any) -> TrialRecord:
    record = TrialRecord(
        number=number,
        state=state,
        params={"lr": 2.1e-4, "augment.mixup": 0.2},
        epochs=tuple(make_epoch(epoch) for epoch in range(1, epochs + 1)),
        attempts=1,
        failure=Failure(reason="RuntimeError: the GPU fell off") if state is TrialState.FAILED else None,
        started=1_790_000_000.0 + 60 * number,
        finished=1_790_000_030.0 + 60 * number if state.is_finished else None,
    )
    return record.model_copy(update=changed)


CONFIG = TrialConfig(backbone="davit_tiny.msft_in1k", data=DigitsData(source="digits"), train=TrainSpec(lr=2.1e-4))


@dataclass(frozen=True)
class Made:
    """What tests build their sweeps from."""

    epoch: Callable[..., EpochMetrics] = make_epoch
    record: Callable[..., TrialRecord] = make_record
    config: TrialConfig = CONFIG


class Written:
    """A sweep as MLflow has it, read straight from the store."""

    def __init__(self, uri: str, info: SweepInfo) -> None:
        self.client = open_client(uri)
        self.info = info

    def runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name(self.info.name)
        return [] if experiment is None else list(self.client.search_runs([experiment.experiment_id]))

    @property
    def parent(self) -> Any:
        (parent,) = [run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags]
        return parent

    @property
    def children(self) -> dict[int, Any]:
        """The trials' runs by number; a trial with two runs is an error."""
        runs = [run for run in self.runs() if "mlflow.parentRunId" in run.data.tags]
        numbers = [int(run.data.tags["sweeper.trial"]) for run in runs]
        assert len(set(numbers)) == len(numbers)
        return dict(zip(numbers, runs, strict=True))

    def steps(self, number: int, key: str = "top1") -> list[int]:
        history = self.client.get_metric_history(self.children[number].info.run_id, key)
        return sorted(metric.step for metric in history)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Returns once something has become true."""
        deadline = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < deadline, "it did not become true in time"
            time.sleep(0.05)

    def epochs(self) -> int:
        return int(sum(run.data.metrics.get("epoch", 0) for run in self.children.values()))

    def has_exactly(self, records: list[TrialRecord]) -> bool:
        """Whether every metric of every epoch is there once, and nothing else."""
        keys = EpochMetrics.model_fields
        return set(self.children) == {record.number for record in records} and all(
            self.steps(record.number, key) == [epoch.epoch for epoch in record.epochs]
            for record in records
            for key in keys
        )


class Server:
    """An `mlflow server` on the shared store that a test may kill."""

    def __init__(self, uri: str, workspace: Workspace) -> None:
        self.store = uri
        self.workspace = workspace
        self.port = _free_port("127.0.0.1", None)
        self.running: UiServer | None = None

    def start(self) -> UiServer:
        if self.running is None:
            self.running = serve_ui(self.store, self.workspace, port=self.port)
        return self.running

    def kill(self) -> None:
        assert self.running is not None
        assert self.running._process is not None
        os.killpg(self.running._process.pid, signal.SIGKILL)
        self.running._process.wait()
        self.running = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Takes requests and does not answer them until the end."""
        assert self.running is not None
        assert self.running._process is not None
        os.killpg(self.running._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.running._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.running is not None:
            self.running.close()
            self.running = None


@pytest.fixture(scope="session")
def made() -> Made:
    return Made()


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Shared by all tests, because MLflow takes seconds to make a store; each test has a sweep of its own."""
    return Workspace(tmp_path_factory.mktemp("sweeps") / "100% möglich?")


@pytest.fixture(scope="session")
def store(workspace: Workspace) -> str:
    return choose_uri(TrackingSpec(uri=None), workspace)


@pytest.fixture(scope="session")
def _server(store: str, workspace: Workspace) -> Iterator[Server]:
    server = Server(store, workspace)
    yield server
    server.stop()


@pytest.fixture
def server(_server: Server) -> Server:
    """The server, running, whatever the test before did to it."""
    _server.start()
    return _server


@pytest.fixture
def info() -> SweepInfo:
    sweep_id = uuid.uuid4().hex
    return SweepInfo(f"sweep-{sweep_id[:8]}", sweep_id, "top1", "name: x\n", capture_environment(), "f" * 16, "5" * 16)


@pytest.fixture
def begin_on_server(server: Server, workspace: Workspace, info: SweepInfo) -> Callable[[], Tracker]:
    """Opens the test's sweep on the server, or opens it again."""

    def begin() -> Tracker:
        tracker = open_tracker(TrackingSpec(uri=server.start().url), workspace)
        tracker.begin(info)
        return tracker

    return begin


@pytest.fixture
def written(store: str, info: SweepInfo) -> Written:
    return Written(store, info)


@pytest.fixture
def tracker(workspace: Workspace, info: SweepInfo) -> Iterator[Tracker]:
    """A tracker that has begun on the shared store."""
    tracker = open_tracker(TrackingSpec(), workspace)
    tracker.begin(info)
    yield tracker
    tracker.close(finished=True, timeout=30.0)


@pytest.fixture
def no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside any git repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "plain"
    folder.mkdir()
    return folder

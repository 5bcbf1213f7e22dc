"""The ledger on a real PostgreSQL server that is restarted and killed under it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from sweeper.records import Decision, EpochMetrics
from sweeper.search import Ledger, open_ledger
from sweeper.spec import SweepSpec

pytestmark = pytest.mark.slow
EPOCHS = 4


def find_binaries() -> Path | None:
    """Debian keeps them off the path."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


class Postgres:
    """A server on loopback, with its data in a folder; it does not run as root."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._user: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg2://sweeper@127.0.0.1:{self._port}/postgres"
        self._data.mkdir()
        if self._user:
            shutil.chown(folder, "nobody")
            shutil.chown(self._data, "nobody")
        options = ["--auth=trust", "--username=sweeper", "--no-sync", "--encoding=UTF8"]
        self._call("initdb", "-D", str(self._data), *options)
        self.start()

    def start(self) -> None:
        command = ["postgres", "-D", str(self._data), "-p", str(self._port), "-k", "", "-h", "127.0.0.1"]
        with (self._data.parent / "log").open("a") as log:
            self.process = subprocess.Popen(
                [str(self._binaries / command[0]), *command[1:]], stdout=log, stderr=log, cwd="/", **self._user
            )
        for _ in range(600):
            if self._call("pg_isready", "-h", "127.0.0.1", "-p", str(self._port), check=False) == 0:
                return
            time.sleep(0.1)
        pytest.fail((self._data.parent / "log").read_text())

    def stop(self, how: signal.Signals) -> None:
        """SIGINT ends its connections, SIGQUIT ends them without a goodbye and leaves the recovery to the next start."""
        self.process.send_signal(how)
        self.process.wait(60)

    def _call(self, program: str, *arguments: str, check: bool = True) -> int:
        return subprocess.run(
            [str(self._binaries / program), *arguments], check=check, capture_output=True, cwd="/", **self._user
        ).returncode


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's `initdb` and `postgres` are not installed")
    pytest.importorskip("psycopg2", reason="the driver psycopg2 is not installed")
    # Not in the test's own folder, which belongs to whoever runs the tests alone.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        server = Postgres(folder, binaries)
        yield server
        server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)


def make_spec() -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "sweep",
            "data": {"source": "digits"},
            "backbone": "vit",
            "train": {"epochs": EPOCHS},
            "space": {"lr": {"log": [1e-4, 1e-2]}, "layer_decay": {"uniform": [0.5, 1.0]}},
            "search": {"trials": 8, "sampler": "tpe", "stop": {"asha": {"grace_epochs": 1, "reduction": 2}}},
        }
    )


def make_epoch(number: int, top1: float) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, top1=top1, top5=1.0, macro_f1=top1, balanced_accuracy=top1, val_loss=1 - top1, train_loss=1.0,
        lr=1e-3, train_seconds=1.0, eval_seconds=1.0, images_per_second=1.0, peak_memory_mb=1.0,
    )  # fmt: skip


def run(ledger: Ledger) -> list[tuple[object, ...]]:
    for suggestion in iter(ledger.ask, None):
        for number in range(1, EPOCHS + 1):
            epoch = make_epoch(number, float(suggestion.params["lr"] or 0) * 50 + 0.01 * number)
            if ledger.report(suggestion.number, epoch, is_last=number == EPOCHS) is Decision.STOP:
                ledger.stop(suggestion.number)
                break
        else:
            ledger.complete(suggestion.number)
    return [(record.params, record.state, record.epochs) for record in ledger.records()]


@contextmanager
def restarts(server: Postgres, at_write: dict[int, signal.Signals]) -> Iterator[list[signal.Signals]]:
    """Stops the server just before the writes of these numbers and has it back half a second later.

    The ledger then meets a dead server within a transaction, and at its next attempts, however fast the machine is.
    """
    happened: list[signal.Signals] = []
    starts: list[threading.Timer] = []
    writes = itertools.count(1)

    def disturb(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        if connection.dialect.name != "postgresql" or not statement.startswith(("INSERT", "UPDATE")):
            return
        how = at_write.get(next(writes))
        if how is not None:
            server.stop(how)
            happened.append(how)
            starts.append(threading.Timer(0.5, server.start))
            starts[-1].start()

    event.listen(Engine, "before_cursor_execute", disturb)
    try:
        yield happened
    finally:
        event.remove(Engine, "before_cursor_execute", disturb)
        for start in starts:
            start.join()


def test_a_sweep_waits_for_a_database_that_restarts_and_loses_nothing(postgres: Postgres, tmp_path: Path) -> None:
    expected = run(open_ledger(make_spec(), f"sqlite:///{tmp_path}/study.db", create=True))
    ledger = open_ledger(make_spec(), postgres.url, create=True)
    with restarts(postgres, {12: signal.SIGINT, 37: signal.SIGQUIT, 60: signal.SIGINT, 85: signal.SIGQUIT}) as happened:
        found = run(ledger)
    assert happened == [signal.SIGINT, signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT]
    assert found == expected

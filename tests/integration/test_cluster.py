"""`RAY_ADDRESS` joins a cluster that somebody else has started, and leaves it running."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Ray head on loopback, started as an administrator does; its processes are ended by their ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = Path(sys.executable).parent / "ray"
    # Ray's sockets lie in its folder, and the path of a socket must be short.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
    command = [str(ray), "start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
               "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats",
               f"--temp-dir={folder}"]  # fmt: skip
    with (tmp_path / "ray.log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log)
    address = f"127.0.0.1:{port}"
    try:
        wait_until_ready(head, tmp_path / "ray.log")
        yield address
    finally:
        family = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        for process in family:
            process.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(head: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert head.poll() is None, log.read_text()
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.1)
    pytest.fail(log.read_text())


def test_a_sweep_joins_a_cluster(sweeper: Any, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    done = sweeper.run("run", "tiny.yaml", "--set", "search.trials=2", "--set", "train.epochs=1", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 2
    # Asking for more than the cluster has is refused with the cluster's name.
    refused = sweeper.run("run", "tiny.yaml", "--set", "name=more", "--set", "resources.cpus_per_trial=3")
    assert refused.returncode == 2
    assert refused.stderr.strip() == (
        f"sweeper: Each trial asks for 3 CPUs, but the cluster at `{cluster}` has 2 CPUs and 0 GPUs; "
        "lower `resources.cpus_per_trial`."
    )

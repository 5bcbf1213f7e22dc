"""Ray on loopback, and what it can give a trial."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from sweeper.driver.cluster import connected, share_for, slots_for
from sweeper.errors import EngineError, ResourceError
from sweeper.planning.share import Share
from sweeper.spec.resources import ResourcesSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
CPUS = psutil.cpu_count() or 1


def test_a_local_ray_listens_on_loopback_only() -> None:
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert all(ip.removeprefix("::ffff:").startswith("127.") or ip == "::1" for ip in listening), listening


def test_a_gpu_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(ResourceError) as caught:
        share_for(ResourcesSpec(gpus_per_trial=1))
    assert str(caught.value) == (
        f"Each trial asks for 1 GPU, but there is none free to give: this machine has {CPUS} CPUs and 0 GPUs; "
        "set `resources.gpus_per_trial: 0` to train on CPUs."
    )


def test_more_cores_than_there_are_is_refused() -> None:
    with pytest.raises(ResourceError, match=rf"^Each trial asks for 999 CPUs, but this machine has {CPUS} CPUs"):
        share_for(ResourcesSpec(cpus_per_trial=999))


def test_auto_takes_no_gpu_where_there_is_none() -> None:
    assert share_for(ResourcesSpec()) == Share(cpus=1, gpus=0)


def test_slots_follow_from_the_share() -> None:
    assert slots_for(Share(cpus=1, gpus=0), ResourcesSpec()) == CPUS
    assert slots_for(Share(cpus=CPUS, gpus=0), ResourcesSpec()) == 1
    assert slots_for(Share(cpus=1, gpus=0), ResourcesSpec(max_concurrent=1)) == 1


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ray

    # Only the message is looked at: joining for real would have to leave the Ray of these tests.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(EngineError, match=f"^Cannot start the sweep on the Ray cluster at `{address}`: "), connected():
        pass


def test_a_ray_that_starts_too_slowly_is_ended_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    left_behind: list[subprocess.Popen[bytes]] = []

    def slow_at_first(**settings: object) -> None:
        if not left_behind:
            left_behind.append(subprocess.Popen(["sleep", "600"]))
            raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", slow_at_first)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with connected():
        assert not psutil.pid_exists(left_behind[0].pid)

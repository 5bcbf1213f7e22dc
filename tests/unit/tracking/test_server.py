from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import InputError, TrackingError
from sweeper.paths import Workspace
from sweeper.tracking import SweepInfo, Tracker, UiServer, serve_ui
from sweeper.tracking import server as server_module


def processes_of(group: int) -> list[str]:
    """The command lines of the processes of a group that are not zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    found.append((entry / "cmdline").read_text())
            except OSError:
                continue
    return found


@pytest.mark.slow
def test_the_pages_of_a_workspace_are_served_until_closed(
    server: Any, tracker: Tracker, info: SweepInfo, written: Any, workspace: Workspace
) -> None:
    ui = server.start()
    with urllib.request.urlopen(f"{ui.url}/health") as answer:
        assert answer.status == 200
    experiment = written.parent.info.experiment_id
    assert ui.experiment_url(info.name) == f"{ui.url}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    with pytest.raises(TrackingError, match=f"^There is no experiment `none` in MLflow at `{ui.url}` yet.$"):
        ui.experiment_url("none")
    spec = f"{ui.url}/get-artifact?run_uuid={written.parent.info.run_id}&path=resolved.yaml"
    with urllib.request.urlopen(spec) as answer:
        assert answer.read().decode() == info.resolved_spec
    group = ui._process.pid
    assert 1 <= len(processes_of(group)) <= 2
    server.stop()
    assert processes_of(group) == []


def test_a_server_that_runs_already_is_pointed_at_and_left_alone(workspace: Workspace) -> None:
    with serve_ui("https://me:secret@tracking.example/mlflow", workspace) as ui:
        assert ui.url == "https://tracking.example/mlflow"
        ui.wait()


def test_databricks_has_pages_of_its_own(workspace: Workspace) -> None:
    with pytest.raises(
        InputError, match=r"^`databricks` has pages of its own: open MLflow in your Databricks workspace.$"
    ):
        serve_ui("databricks", workspace)


def test_a_port_that_is_taken_is_named(workspace: Workspace, store: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = (
            f"The port must be free, but `{port}` on `127.0.0.1` cannot be used (Address already in use); "
            "leave it out to get a free one."
        )
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            serve_ui(store, workspace, port=port)


@pytest.mark.slow
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        TrackingError, match=r"^`mlflow server` ended with exit code 1 instead of starting. Its last line: "
    ) as e:
        serve_ui("nosuchdatabase://me:secret@host/mlflow", Workspace(tmp_path))
    assert "secret" not in str(e.value)


def test_a_server_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_STOP_SECONDS", 0.5)
    stubborn = "trap '' TERM; sleep 60 & wait; sleep 60"
    process = subprocess.Popen(["bash", "-c", stubborn], start_new_session=True)
    time.sleep(0.3)
    assert len(processes_of(process.pid)) == 2
    UiServer("http://127.0.0.1:1", process).close()
    assert processes_of(process.pid) == []
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)

"""MLflow's pages on a workspace: a server of our own, on this machine only, for as long as someone looks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from types import TracebackType
from typing import IO, Final

from sweeper.errors import InputError, TrackingError
from sweeper.paths import Workspace
from sweeper.tracking.uri import hide_password, is_server, without_password

# One worker and no job runner: 2 processes and 0.4 GB instead of MLflow's 15 and 2.1 GB.
_SETTINGS: Final = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 5.0


class UiServer:
    """MLflow's pages at `url`, until closed.

    Usage::

        with serve_ui(choose_uri(spec.tracking, workspace), workspace) as server:
            print(server.experiment_url("fungi"))
            server.wait()
    """

    def __init__(self, uri: str, process: subprocess.Popen[bytes] | None) -> None:
        """Stores the address, and the process if it is ours.

        Args:
            uri: where the server is, with the password if it wants one.
            process: the leader of its own process group; None for a server that somebody else runs.
        """
        self._uri = uri
        self._process = process

    @property
    def url(self) -> str:
        """The address of the pages, as it may be shown."""
        return without_password(self._uri)

    def __enter__(self) -> UiServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def experiment_url(self, experiment: str) -> str:
        """Returns the page with the experiment's table of runs; without the ending, pages on language models open.

        Raises:
            TrackingError: there is no such experiment.
        """
        from sweeper.tracking.client import find_experiment

        return f"{self.url}/#/experiments/{find_experiment(self._uri, experiment)}/runs?workflowType=machine_learning"

    def wait(self) -> None:
        """Returns when the server ends; at once if it is not ours."""
        if self._process is not None:
            self._process.wait()

    def close(self) -> None:
        """Ends our server and its children; somebody else's stays."""
        if self._process is not None:
            _end(self._process)


def serve_ui(uri: str, workspace: Workspace, *, host: str = "127.0.0.1", port: int | None = None) -> UiServer:
    """Starts MLflow's pages on a store, or points at the server that is there already.

    Args:
        uri: the tracking URI, as from `choose_uri`.
        workspace: holds the artifacts, where no server does.
        host: address to listen on; by default this machine alone can look.
        port: port to listen on, any free one by default.

    Raises:
        InputError: the port is taken, or the URI is of a service with pages of its own.
        ModuleNotFoundError: MLflow is not installed.
        TrackingError: the server did not start.
    """
    if uri.startswith("databricks"):
        raise InputError(f"`{uri}` has pages of its own: open MLflow in your Databricks workspace.")
    if is_server(uri):
        return UiServer(uri.rstrip("/"), None)
    if find_spec("mlflow") is None:  # told here: the server would only die of it
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
    port = _free_port(host, port)
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1",
        "--default-artifact-root", workspace.mlflow_artifacts.absolute().as_uri(),
    ]  # fmt: skip
    # The store goes through the environment: a command line, with the password of a database, is for all to see.
    environment = {**_SETTINGS, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    workspace.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        url = f"http://{host}:{port}"
        try:
            _await_health(url, process)
        except TrackingError as error:
            _end(process)
            raise TrackingError(f"{error} Its last line: {hide_password(_last_line(output), uri)}") from None
        except BaseException:
            _end(process)
            raise
    return UiServer(url, process)


def _free_port(host: str, port: int | None) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port or 0))
        except OSError as error:
            raise InputError(
                f"The port must be free, but `{port}` on `{host}` cannot be used ({error.strerror}); "
                "leave it out to get a free one."
            ) from error
        return int(probe.getsockname()[1])


def _await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    # A proxy has no business with a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrackingError(f"`mlflow server` ended with exit code {process.returncode} instead of starting.")
        try:
            with opener.open(f"{url}/health", timeout=5.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TrackingError(f"`mlflow server` did not answer within {_START_SECONDS:.0f} s.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process group that `process` leads, first politely; a leader that is gone may leave children."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(none)"

"""A sweep over two hosts with all servers that a cluster has; one host is cut off in the middle, and comes back.

The hosts share no folder: what a trial goes on from is in the object store.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.paths import SweepPaths
from sweeper.spec import load_spec
from tests.integration.hosts import Hosts, make_hosts, wait_until

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
DOCKER = Path(__file__).resolve().parents[2] / "docker/bin"
SPACE = """\
name: hosts
data: {source: digits, image_size: 32}
backbone: test_efficientnet
weights: random
train: {epochs: 10, batch_size: 64}
augment: {hflip: 0.0}
space: {lr: {log: [1.0e-3, 1.0e-2]}}
search: {trials: 3, sampler: random, first_look: false}
checkpoints: {remote: "s3://sweeps"}
"""
EPOCHS, TRIALS = 10, 3

RUNS = """\
import json
from mlflow import MlflowClient
client = MlflowClient()
runs = client.search_runs([client.get_experiment_by_name("hosts").experiment_id])
steps = {r.info.run_id: sorted(m.step for m in client.get_metric_history(r.info.run_id, "top1")) for r in runs}
print(json.dumps([
    {"status": r.info.status, "trial": "mlflow.parentRunId" in r.data.tags, "steps": steps[r.info.run_id],
     "attempts": r.data.tags.get("sweeper.attempts"),
     "artifacts": [f.path for f in client.list_artifacts(r.info.run_id)]} for r in runs]))
"""


def postgres_programs() -> Path:
    """The folder of PostgreSQL's server programs; Debian keeps them off the path."""
    for found in (shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        if found and (os.geteuid() != 0 or "postgres" in {user.pw_name for user in pwd.getpwall()}):
            return Path(found).resolve().parent
    pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql), or only root to run it")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets, that PostgreSQL's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="hosts-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def hosts(folder: Path, tmp_path: Path) -> Iterator[Hosts]:
    """A head with PostgreSQL, an S3 store, MLflow and Ray's head, and a worker host with one Ray node."""
    token = folder / "token"
    token.write_text(uuid.uuid4().hex)
    token.chmod(0o600)
    login = folder / "login"
    login.write_text(uuid.uuid4().hex)
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A host that does not answer counts as lost after seconds, not after a minute.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "4",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_USERNAME": "sweeper",
        "MLFLOW_TRACKING_PASSWORD": login.read_text(),
        "PGPASSWORD": uuid.uuid4().hex,
        "OMP_NUM_THREADS": "1",
    }
    own = tmp_path / "own"
    environment["SWEEPER_CACHE"] = str(own / "cache")
    made = make_hosts(environment, tmp_path, own=own)
    print(f"The hosts are {made.kind}.")
    address = made.head
    made.environment |= {
        "RAY_ADDRESS": f"{address}:6399",
        "MLFLOW_TRACKING_URI": f"http://{address}:5055",
        "MLFLOW_S3_ENDPOINT_URL": f"http://{address}:8399",
        "AWS_ENDPOINT_URL": f"http://{address}:8399",
        "SWEEPER_STORAGE": f"postgresql+psycopg2://sweeper@{address}:5499/sweeper",
    }
    try:
        start_postgres(made, folder)
        made.start(address, "s3", sys.executable, "-m", "moto.server", "--host", address, "--port", "8399")
        bucket = f"import urllib.request as u; u.urlopen(u.Request('http://{address}:8399/sweeps', method='PUT'))"
        wait_until(
            lambda: made.run(address, sys.executable, "-c", bucket).returncode == 0, "the artifact store's start"
        )
        # As in a container, with what the image has for it: it makes its bucket, and wants a login.
        database = f"postgresql+psycopg2://sweeper@{address}:5499"
        made.start(
            address, "mlflow", "env", f"PATH={BIN}:{os.environ['PATH']}", f"TMPDIR={folder}",
            f"MLFLOW_HOST={address}", "MLFLOW_PORT=5055", "MLFLOW_ARTIFACTS_DESTINATION=s3://mlflow",
            f"MLFLOW_BACKEND_STORE_URI={database}/mlflow", f"MLFLOW_AUTH_DATABASE_URI={database}/mlflow_users",
            f"MLFLOW_AUTH_ADMIN_PASSWORD_FILE={login}", f"MLFLOW_FLASK_SERVER_SECRET_KEY_FILE={token}",
            DOCKER / "with-secrets", DOCKER / "mlflow-in-cluster",
        )  # fmt: skip
        start_node(made, folder, "head", "--head", "--port=6399", "--include-dashboard=false")
        start_node(made, folder, "worker", f"--address={address}:6399")
        wait_until(lambda: "Application startup complete" in made.log("mlflow"), "MLflow's start")
        yield made
    finally:
        made.close()


def start_postgres(hosts: Hosts, folder: Path) -> None:
    programs = postgres_programs()
    data, password = folder / "postgres", folder / "password"
    data.mkdir()
    password.write_text(hosts.environment["PGPASSWORD"])
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(data, user)
        shutil.chown(password, user)
    initdb = hosts.start(
        hosts.head, "initdb", programs / "initdb", "--username=sweeper", f"--pwfile={password}", "--auth=scram-sha-256",
        "--no-sync", f"--pgdata={data}", user=user,
    )  # fmt: skip
    assert initdb.wait() == 0, hosts.log("initdb")
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {hosts.head}/32 scram-sha-256\n")
    hosts.start(
        hosts.head, "postgres", programs / "postgres", "-D", data, "-h", hosts.head, "-p", "5499", "-k", data,
        "-c", "fsync=off", user=user,
    )  # fmt: skip
    create = (programs / "createdb", "-h", hosts.head, "-p", "5499", "-U", "sweeper")
    wait_until(lambda: hosts.run(hosts.head, *create, "sweeper").returncode == 0, "PostgreSQL's start")
    for database in ("mlflow", "mlflow_users"):
        assert hosts.run(hosts.head, *create, database).returncode == 0


def start_node(hosts: Hosts, folder: Path, name: str, *options: str) -> None:
    """Starts a Ray node, again where a busy machine takes it longer than Ray's own limit, as a restart policy would."""
    host = hosts.head if name == "head" else hosts.worker
    (hosts.logs / f"{name}.log").touch()
    before = hosts.log(name).count("Ray runtime started")
    for _ in range(4):
        node = hosts.start_node(host, name, folder / name, *options)
        wait_until(
            lambda node=node: node.poll() is not None or hosts.log(name).count("Ray runtime started") > before,
            f"the start of the {name}'s node",
        )
        if node.poll() is None:
            return
    pytest.fail(hosts.log(name))


def test_a_host_that_is_cut_off_costs_an_epoch_and_nothing_else(hosts: Hosts, folder: Path, tmp_path: Path) -> None:
    without = hosts.run(hosts.worker, BIN / "ray", "status", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/dev/null")
    assert without.returncode != 0  # nobody gets in without the token, nor to MLflow without the login
    guessed = hosts.run(hosts.head, sys.executable, "-c", RUNS, MLFLOW_TRACKING_PASSWORD="guessed")
    assert "401" in guessed.stderr, guessed.stderr

    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    root, sweep = str(hosts.own / "sweeps"), hosts.own / "sweeps/hosts"
    sweeper = (sys.executable, "-m", "sweeper")
    driver = hosts.start(hosts.head, "sweep", *sweeper, "run", space, "--root", root)

    def printed(pattern: str) -> list[str]:
        assert driver.poll() is None or pattern == "lost", hosts.log("sweep")
        return re.findall(pattern, hosts.log("sweep"))

    def trains_there() -> bool:
        """Whether a trial has reported on the worker host that trains there still."""
        pids = {process.pid for process in hosts.family(hosts.worker)}
        reported = {int(trial) for trial in printed(r"trial (\d)  epoch 2 ")}
        # As the processes of that host see its disk.
        folders = [Path(f"/proc/{pid}/root{hosts.own}/cache/running") for pid in pids]
        marks = [mark for folder in folders for mark in folder.glob("*/trials/*/worker.json")]
        return any(int(mark.parent.name) in reported and json.loads(mark.read_text())["pid"] in pids for mark in marks)

    wait_until(trains_there, "a trial on the worker host")
    hosts.cut()
    wait_until(lambda: printed("lost"), "the loss of the host")
    hosts.restore()
    # What was cut off knows by now that it is counted as dead; a container's restart policy would do this.
    start_node(hosts, folder, "worker", f"--address={hosts.head}:6399")
    assert driver.wait(timeout=180) == 0, hosts.log("sweep")

    board = hosts.run(hosts.head, *sweeper, "leaderboard", "hosts", "--root", root, "--json")
    assert len(json.loads(board.stdout)["rows"]) == TRIALS, board.stderr
    spec = load_spec(sweep / "resolved.yaml")
    assert spec.search.storage == hosts.environment["SWEEPER_STORAGE"]  # no password is written down
    for number in range(TRIALS):
        trial = SweepPaths(sweep).trial(number)
        assert (trial.best.exists(), trial.predictions.exists(), trial.checkpoint.exists()) == (True, True, False)
        assert f"Epoch {EPOCHS}:" in trial.log.read_text()
    left = hosts.run(hosts.head, sys.executable, "-c", LEFT)
    assert left.stdout == "[]\n", left.stdout + left.stderr  # all are at home
    assert_ledger(hosts, sweep / "resolved.yaml")

    asked = hosts.run(hosts.head, sys.executable, "-c", RUNS)
    runs = json.loads(asked.stdout.splitlines()[-1])
    (parent,) = [run for run in runs if not run["trial"]]
    assert parent["status"] == "FINISHED"
    assert "resolved.yaml" in parent["artifacts"]
    trials = [run for run in runs if run["trial"]]
    assert [run["steps"] for run in trials] == TRIALS * [list(range(1, EPOCHS + 1))]
    assert Counter(run["status"] for run in trials) == {"FINISHED": TRIALS}
    assert sorted(run["attempts"] for run in trials) == ["1", "1", "2"]


LEFT = """\
from pyarrow import fs
files, _ = fs.FileSystem.from_uri("s3://sweeps")
print([found.path for found in files.get_file_info(fs.FileSelector("sweeps", recursive=True)) if found.is_file])
"""
LEDGER = """\
import os, sys, json
from pathlib import Path
from sweeper.search import open_ledger
from sweeper.spec import load_spec
spec = load_spec(Path(sys.argv[1]))
print(json.dumps([r.model_dump(mode="json") for r in open_ledger(spec, spec.search.storage, create=False).records()]))
"""


def assert_ledger(hosts: Hosts, resolved: Path) -> None:
    asked = hosts.run(hosts.head, sys.executable, "-c", LEDGER, resolved)
    records = json.loads(asked.stdout.splitlines()[-1])
    assert [record["state"] for record in records] == TRIALS * ["complete"]
    assert [len(record["epochs"]) for record in records] == TRIALS * [EPOCHS]
    assert sorted(record["attempts"] for record in records) == [1, 1, 2]

"""The image and the compose file: checked by their own tools, and kept to what docs/cluster/containers.md promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
SCRIPTS = sorted([*(DOCKER / "bin").iterdir(), *DOCKER.rglob("*.sh"), *DOCKER.rglob("*-entrypoint")])


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, its merge keys resolved."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    return found


def check(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_hadolint_has_nothing_to_say_of_the_dockerfiles() -> None:
    assert check(BIN / "hadolint", "--failure-threshold", "style", *sorted(DOCKER.rglob("Dockerfile*"))) == ""


def test_shellcheck_has_nothing_to_say_of_the_scripts() -> None:
    assert check(BIN / "shellcheck", "--severity=style", *SCRIPTS) == ""


def test_the_compose_file_keeps_to_the_compose_specification(tmp_path: Path) -> None:
    validate = (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    assert check(*validate, DOCKER / "compose.yaml") == ""
    broken = tmp_path / "compose.yaml"
    broken.write_text((DOCKER / "compose.yaml").read_text().replace("healthcheck:", "healthchek:"))
    assert "('healthchek' was unexpected)" in check(*validate, broken)


def test_ports_are_open_to_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_service_that_stays_restarts_and_has_a_memory_limit(services: dict[str, dict[str, Any]]) -> None:
    assert services.pop("sweeper")["restart"] == "no"
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}
    assert [name for name, service in services.items() if "mem_limit" not in service] == []


def test_every_ray_node_wants_the_token(services: dict[str, dict[str, Any]]) -> None:
    for name in ("head", "worker", "worker-gpu", "sweeper"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token", name
        assert services[name]["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token", name
        assert "ray_token" in services[name]["secrets"], name


def test_mlflow_wants_a_login_and_those_who_write_to_it_have_it(services: dict[str, dict[str, Any]]) -> None:
    password = "/run/secrets/mlflow_password"
    assert services["mlflow"]["environment"]["MLFLOW_AUTH_ADMIN_PASSWORD_FILE"] == password
    assert services["sweeper"]["environment"]["MLFLOW_TRACKING_PASSWORD_FILE"] == password
    for name in ("mlflow", "sweeper"):
        assert "mlflow_password" in services[name]["secrets"]


def test_a_command_gets_its_passwords_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('it\'s "quoted" $HOME')
    environment = {"PATH": os.environ["PATH"], "MLFLOW_TRACKING_PASSWORD_FILE": str(tmp_path / "secret")}
    shown = subprocess.run(
        [DOCKER / "bin/with-secrets", "printenv", "MLFLOW_TRACKING_PASSWORD"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == 'it\'s "quoted" $HOME\n'


def test_the_image_gets_only_what_it_needs() -> None:
    """A secret, a sweep or the 6 GB of .venv must not be sent to the builder."""
    kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")
    assert [line for line in kept if line.startswith(("!docker/secrets", "!sweeps", "!.venv"))] == []
    copied = [
        source
        for line in (DOCKER / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert [source for source in copied if f"!{source}" not in kept] == []


def test_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_text((DOCKER / "make-secrets.sh").read_text())
    for _ in range(2):
        assert check("sh", script) == ""
    folder = tmp_path / "secrets"
    made = {file.name: file.read_text() for file in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    drawn = [made[name] for name in ("ray_token", "postgres_password", "mlflow_password", "mlflow_session_key")]
    assert [len(one) for one in drawn] == [48, 48, 48, 48]
    assert len(set(drawn)) == 4
    assert check("sh", script) == ""
    assert {file.name: file.read_text() for file in folder.iterdir()} == made
    (identity,) = yaml.safe_load(made["s3_config.json"])["identities"]
    assert f"aws_secret_access_key = {identity['credentials'][0]['secretKey']}\n" in made["s3_credentials"]

"""Commands that only look must answer at once: they load none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "timm", "ray", "optuna", "mlflow", "pyarrow", "cv2")


def loaded(project: Path, *arguments: str) -> tuple[set[str], str]:
    script = (
        "import sys; from sweeper.cli.main import cli\n"
        f"cli.main({list(arguments)!r}, standalone_mode=False)\n"
        f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1].split()
    assert last[0] == "LOADED"
    return set(last[1:]), done.stdout


def test_validate_loads_nothing_heavy(project: Path) -> None:
    modules, output = loaded(project, "validate", "search_spaces/davit.yaml")
    assert "is right" in output
    assert modules == set()


def test_the_schema_loads_nothing_heavy(project: Path) -> None:
    modules, output = loaded(project, "validate", "--schema")
    assert '"additionalProperties": false' in output
    assert modules == set()


def test_importing_the_package_loads_nothing_heavy(project: Path) -> None:
    script = f"import sys, sweeper; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["status", "leaderboard"])
def test_commands_that_read_the_ledger_load_no_torch_and_no_ray(project: Path, command: str, tmp_path: Path) -> None:
    script = (
        f"import sys, importlib; importlib.import_module('sweeper.cli.{command}')\n"
        "print([name for name in ('torch', 'timm', 'ray', 'mlflow', 'cv2', 'sklearn', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

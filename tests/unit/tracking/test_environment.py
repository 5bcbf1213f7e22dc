from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.tracking import capture_environment


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_commit_is_noted_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "one")
    clean = capture_environment(tmp_path)
    assert clean.git_commit == git(tmp_path, "rev-parse", "HEAD")
    assert clean.git_dirty is False
    (tmp_path / "a").write_text("2")
    assert capture_environment(tmp_path).git_dirty is True


def test_outside_a_repository_there_is_no_commit(no_git: Path) -> None:
    environment = capture_environment(no_git)
    assert environment.git_commit is None
    assert environment.git_dirty is None


def test_the_code_and_the_machine_are_noted(no_git: Path) -> None:
    environment = capture_environment(no_git)
    assert environment.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert {"torch", "timm", "ray", "optuna", "mlflow"} <= set(environment.packages)
    assert "cores" in environment.machine


def test_no_environment_variable_is_written_down(no_git: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-show-me")
    assert "do-not-show-me" not in capture_environment(no_git).model_dump_json()

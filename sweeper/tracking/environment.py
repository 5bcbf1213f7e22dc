"""Environment: which code ran on which machine, written down once a sweep."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

_PACKAGES: Final = ("sweeper", "torch", "timm", "ray", "optuna", "mlflow")
_COMMAND_SECONDS: Final = 5.0


class Environment(BaseModel):
    """The driver's code and machine. Holds no environment variables: they may hold secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    git_commit: str | None
    """Commit of the working directory; None outside a git repository."""
    git_dirty: bool | None
    """Whether tracked files differ from the commit; None outside a git repository."""
    python: str
    """Version of Python."""
    platform: str
    """Operating system and C library."""
    machine: str
    """Processor type and the cores this process may use."""
    gpus: tuple[str, ...]
    """Names of the GPUs of the driver's machine; a cluster's workers may have others."""
    packages: dict[str, str]
    """Installed versions of sweeper and of what it stands on."""


def capture_environment(folder: Path | None = None) -> Environment:
    """Looks around, without importing anything heavy; takes some 50 ms.

    Args:
        folder: whose git commit to note; the working directory by default.
    """
    where = folder or Path.cwd()
    commit = _output("git", "-C", str(where), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(where), "status", "--porcelain", "--untracked-files=no")
    gpus = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or ""
    return Environment(
        git_commit=commit,
        git_dirty=None if commit is None or changes is None else bool(changes),
        python=platform.python_version(),
        platform=platform.platform(),
        machine=f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        gpus=tuple(name.strip() for name in gpus.splitlines()),
        packages={name: version for name in _PACKAGES if (version := _version(name))},
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(program: str, *arguments: str) -> str | None:
    """Returns what a program printed; None where it is missing, fails or takes too long."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

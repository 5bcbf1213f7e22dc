"""However broken a search space file is, the answer is one of our own errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def load_broken_files(project: Path, *arguments: int) -> None:
    command = [sys.executable, "-m", "tests.unit.spec.broken_files", *map(str, arguments)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_a_thousand_broken_files_end_in_our_own_errors(project: Path) -> None:
    load_broken_files(project, 1_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_ten_thousand_other_broken_files_end_in_our_own_errors(seed: int, project: Path) -> None:
    """Any other seed may be tried by hand: `python -m tests.unit.spec.broken_files 5000 13` found an IndexError."""
    load_broken_files(project, 5_000, seed)

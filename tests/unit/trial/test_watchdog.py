"""A process that hangs is ended, by itself, and says where it hung."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper.trial.watchdog import alive, watched

HANG = """
import sys, threading
from pathlib import Path
from sweeper.trial.watchdog import alive, watched

def wait_for_ever():
    threading.Lock().acquire()
    lock = threading.Lock(); lock.acquire(); lock.acquire()

with watched(0.5, Path(sys.argv[1])):
    alive()
    wait_for_ever()
"""


def test_a_process_that_hangs_is_ended_and_says_where(tmp_path: Path) -> None:
    stacks = tmp_path / "stall.txt"
    done = subprocess.run([sys.executable, "-c", HANG, str(stacks)], capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "wait_for_ever" in stacks.read_text()


def test_one_that_goes_on_is_left_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    stacks = tmp_path / "stall.txt"
    with watched(30.0, stacks):
        for _ in range(5):
            alive()
            time.sleep(0.01)
    assert not stacks.exists()
    with watched(None, stacks):
        alive()
    assert not stacks.exists()


def test_a_trial_that_fails_is_no_hung_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), watched(30.0, tmp_path / "stall.txt"):
        raise ValueError("no")
    assert not (tmp_path / "stall.txt").exists()

"""A detached driver goes on when its terminal is closed, and is looked after from any other."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sys
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow


def test_a_detached_sweep_outlives_its_terminal(sweeper: Any) -> None:
    terminal, screen = pty.fork()
    if terminal == 0:
        os.chdir(sweeper.folder)
        os.execv(
            sys.executable,
            [
                sys.executable,
                "-m",
                "sweeper",
                "run",
                "tiny.yaml",
                "--detach",
                "--set",
                "search.trials=2",
                "--set",
                "train.epochs=2",
            ],
        )
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody is left in it
        while part := os.read(screen, 4096):
            shown += part
    os.close(screen)  # its window is closed
    assert os.waitstatus_to_exitcode(os.waitpid(terminal, 0)[1]) == 0, shown
    said = re.fullmatch(
        r"tiny runs by itself now \(process (\d+)\): `sweeper logs tiny --follow` shows what it prints, "
        r"`sweeper status tiny` where it stands, `sweeper stop tiny` ends it\.",
        " ".join(shown.decode().split()),
    )
    assert said is not None, shown
    driver = psutil.Process(int(said[1]))
    sweeper.ends_with_the_test(driver)
    assert driver.is_running()
    again = sweeper.run("run", "tiny.yaml", "--detach")
    assert again.returncode == 2
    assert re.match(r"sweeper: The sweep `tiny` (is running|exists) already", again.stderr), again.stderr
    followed = sweeper.run("logs", "tiny", "--follow")  # returns when the driver ends
    assert "trial 1  " in followed.stdout
    assert "100 %" not in followed.stdout  # a file gets lines, no bars
    assert "2 complete of 2 trials" in sweeper.run("status", "tiny").stdout
    assert "INFO sweeper: Trial 0, attempt 1." in sweeper.run("logs", "tiny", "0").stdout


def test_what_refuses_a_detached_driver_is_told_by_the_command(sweeper: Any) -> None:
    refused = sweeper.run("run", "tiny.yaml", "--detach", "--set", "resources.gpus_per_trial=64")
    assert refused.returncode == 2
    assert refused.stderr.startswith("sweeper: Each trial asks for 64 GPU, but there is none free to give"), (
        refused.stderr
    )
    none = sweeper.run("logs", "nothing")
    assert none.returncode == 2
    assert "There is no sweep `nothing` in" in none.stderr

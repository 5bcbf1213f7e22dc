"""The command line as a person runs it: real processes, in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

TINY = """\
name: tiny
data: {source: digits, image_size: 32}
backbone: test_efficientnet
weights: random
train: {epochs: 3, batch_size: 64, warmup_epochs: 0.5}
augment: {hflip: 0.0}
space:
  lr: {log: [1.0e-3, 1.0e-2]}
  layer_decay: {uniform: [0.7, 1.0]}
search: {trials: 4, sampler: random}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


class Sweeper:
    """Starts `sweeper` in a folder, and ends every process it leaves behind, by its id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: set[psutil.Process] = set()

    def run(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        command = [sys.executable, "-m", "sweeper", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command; its progress goes to `progress.log` in the folder."""
        log = (self.folder / "progress.log").open("a")
        command = [sys.executable, "-m", "sweeper", *arguments]
        return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, text=True, stdin=subprocess.DEVNULL)

    def wait_for(self, process: subprocess.Popen[str], text: str, *, timeout: float = 240) -> None:
        """Waits until the started command has printed `text`."""
        end = time.monotonic() + timeout
        while text not in self.progress():
            assert time.monotonic() < end, self.progress()
            assert process.poll() is None, self.progress()
            self._seen.update(psutil.Process(process.pid).children(recursive=True))
            time.sleep(0.1)

    def progress(self) -> str:
        """What the started commands have printed so far."""
        return (self.folder / "progress.log").read_text()

    def children(self, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """All processes below a started command."""
        found = psutil.Process(process.pid).children(recursive=True)
        self._seen.update(found)
        return found

    def ends_with_the_test(self, process: psutil.Process) -> None:
        """Takes a process, and all below it, that no command of the test is the parent of."""
        self._seen.update([process, *process.children(recursive=True)])

    def end_leftovers(self) -> None:
        """Ends what a killed driver has left behind."""
        for process in self._seen:
            if process.is_running():
                process.kill()


@pytest.fixture
def sweeper(tmp_path: Path) -> Iterator[Sweeper]:
    """The command line in a folder that holds `tiny.yaml`."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "progress.log").touch()
    commands = Sweeper(tmp_path)
    yield commands
    commands.end_leftovers()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials at once on two cores."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")

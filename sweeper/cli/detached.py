"""A driver that outlives the terminal it was started from."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import click

from sweeper.folder import held, is_running
from sweeper.paths import SweepPaths

OPTION = "--detach"
_PATIENCE_SECONDS = 120.0
"""Most of what is wrong is found within seconds; images may be decoded for an hour before a sweep begins."""

option = click.option(OPTION, is_flag=True, help="Start it and return; it goes on when the terminal is closed.")


def detach(paths: SweepPaths, arguments: Sequence[str]) -> int:
    """Runs `sweeper` with `arguments` as a process of its own session, and returns when the sweep has begun.

    Args:
        paths: the sweep's folder; what the driver prints goes to a file there.
        arguments: those of this command; `--detach` is left out.

    Returns:
        The exit code: 0 if the driver runs, else the driver's own, after printing what it said.

    Raises:
        SweepFolderError: another driver holds the sweep.
    """
    name = paths.root.name
    with held(paths):
        pass
    with paths.output.open("ab") as output:
        began = output.tell()
        driver = subprocess.Popen(
            [sys.executable, "-m", "sweeper", *(one for one in arguments if one != OPTION)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a terminal that closes sends its signal to its own session only
        )
    end = time.monotonic() + _PATIENCE_SECONDS
    while driver.poll() is None and time.monotonic() < end and not (paths.resolved.exists() and is_running(paths)):
        time.sleep(0.2)
    if driver.returncode:
        with paths.output.open("rb") as said:
            said.seek(began)
            click.echo(said.read().decode(errors="replace").rstrip(), err=True)
        return driver.returncode
    click.echo(
        f"{name} runs by itself now (process {driver.pid}): `sweeper logs {name} --follow` shows what it prints, "
        f"`sweeper status {name}` where it stands, `sweeper stop {name}` ends it."
    )
    return 0

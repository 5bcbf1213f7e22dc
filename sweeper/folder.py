"""A sweep's folder: made once, found by name, held by one driver at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from sweeper.errors import SweepFolderError, nearest
from sweeper.paths import SweepPaths, TrialPaths, Workspace, written_aside
from sweeper.records import DriverState, WorkerState
from sweeper.spec import SweepSpec, dump_spec, load_spec

Said = TypeVar("Said", DriverState, WorkerState)

_GLANCE_SECONDS = 1.0
"""Whoever asks whether a sweep runs holds its lock for a moment; a driver waits that long."""


def workspace_at(root: Path | None) -> Workspace:
    """Returns the folder that holds all sweeps: `root`, else `SWEEPER_ROOT`, else `./sweeps`."""
    return Workspace((root or Path(os.environ.get("SWEEPER_ROOT", "sweeps"))).absolute())


def require_new(workspace: Workspace, name: str) -> SweepPaths:
    """Returns the paths of a sweep that can be started.

    Raises:
        SweepFolderError: the sweep exists, or its folder cannot be written.
    """
    paths = workspace.sweep(name)
    if paths.resolved.exists():
        raise SweepFolderError(
            f"The sweep `{name}` exists already in `{paths.root}`; go on with `sweeper resume {name}`, "
            "or start another with `--set name=<new name>`."
        )
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        probe = paths.root / ".write-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SweepFolderError(
            f"The sweep's folder `{paths.root}` cannot be written ({error.strerror}); choose another with `--root`."
        ) from error
    return paths


def write_folder(paths: SweepPaths, spec: SweepSpec, *, source: Path | None) -> None:
    """Writes down what was asked; from here on the sweep exists and can be resumed.

    Args:
        paths: the sweep's folder.
        spec: the complete spec.
        source: the file it came from, kept beside it.
    """
    if source is not None:
        shutil.copyfile(source, paths.asked)
    with written_aside(paths.resolved) as aside:
        aside.write_text(dump_spec(spec), encoding="utf-8")


def find_sweep(workspace: Workspace, name: str) -> SweepPaths:
    """Returns the paths of an existing sweep, given its name or its folder.

    Raises:
        SweepFolderError: there is none; the nearest names are offered.
    """
    for paths in (workspace.sweep(name), SweepPaths(Path(name).absolute())):
        if paths.resolved.exists():
            return paths
    known = list_sweeps(workspace)
    hint = nearest(name, known) or (f"; there are {', '.join(f'`{one}`' for one in known)}." if known else ".")
    raise SweepFolderError(f"There is no sweep `{name}` in `{workspace.root}`{hint}")


def list_sweeps(workspace: Workspace) -> tuple[str, ...]:
    """Returns the names of the workspace's sweeps, sorted."""
    if not workspace.root.is_dir():
        return ()
    return tuple(sorted(p.name for p in workspace.root.iterdir() if SweepPaths(p).resolved.exists()))


def read_spec(paths: SweepPaths) -> SweepSpec:
    """Returns the complete spec of an existing sweep.

    Raises:
        SpecError: the file was edited into something that is no spec.
    """
    return load_spec(paths.resolved)


@contextmanager
def held(paths: SweepPaths) -> Iterator[None]:
    """Holds the sweep for this process; a lock of a process that died is free again at once.

    Raises:
        SweepFolderError: another driver holds it.
    """
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=_GLANCE_SECONDS)
    except Timeout as error:
        raise SweepFolderError(
            f"The sweep `{paths.root.name}` is running already; see `sweeper status {paths.root.name}`, "
            f"or end it with `sweeper stop {paths.root.name}`."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_running(paths: SweepPaths) -> bool:
    """Whether a driver holds the sweep now."""
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def read_driver(paths: SweepPaths) -> DriverState | None:
    """Returns what the driver last said of itself; None where it has said nothing, or was cut off."""
    return _read(paths.state, DriverState)


def read_worker(paths: TrialPaths) -> WorkerState | None:
    """Returns where a trial runs; None where it does not."""
    return _read(paths.worker, WorkerState)


def _read(path: Path, kind: type[Said]) -> Said | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None

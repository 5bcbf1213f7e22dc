"""A trial's files in an object store, for workers that share no folder with the driver.

Each attempt leaves its files there after each epoch, before it tells of the epoch, under its own number; the next one,
on whatever machine, begins with those. So two attempts cannot spoil each other, as with a `Lease` on a disk. When the
trial is finished the driver takes its files home and the store is rid of them.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, TypeVar

from sweeper.data import Location, locate
from sweeper.disk import is_full
from sweeper.errors import DataError, EngineError, InputError
from sweeper.paths import SweepPaths, TrialPaths, written_aside

Value = TypeVar("Value")
_log = logging.getLogger(__name__)

_PATIENCE: Final = 900.0
"""Seconds that a store may be away; below `resources.stall_minutes`, after which a worker counts as hung."""
_LONGEST_PAUSE: Final = 30.0
_FOLDER: Final = re.compile(r"attempt-(\d{4,})/(.+)")


class RemoteTrial:
    """The place of one trial in a store.

    Usage::

        remote = RemoteTrial("s3://bucket/sweeps/davit-1f3a/trials/0007")
        remote.begin(paths, attempt=2)  # in a worker
        remote.keep(paths, attempt=2)  # after each epoch
        remote.bring_home(paths, attempt=2, state=False)  # in the driver
    """

    def __init__(self, place: str, *, patience: float = _PATIENCE) -> None:
        """Opens nothing yet.

        Args:
            place: a URI, or the path of a folder that all machines see.
            patience: seconds that the store may be away.
        """
        self._text = place
        self._shown = place.partition("?")[0]
        self._patience = patience
        self._sent: dict[str, tuple[int, int]] = {}

    def begin(self, paths: TrialPaths, *, attempt: int) -> None:
        """Puts what the latest earlier attempt goes on from into a trial's folder, in place of what is in it.

        Raises:
            EngineError: the store stayed away.
        """
        for file in _files(paths):
            file.unlink(missing_ok=True)
        found = self._patiently(self._attempts)
        self._fetch(_files(paths), paths, {number: names for number, names in found.items() if number < attempt})

    def keep(self, paths: TrialPaths, *, attempt: int) -> None:
        """Sends what has changed, the checkpoint last: what is there without it is of no later epoch.

        Raises:
            EngineError: the store stayed away.
        """
        for file in (paths.log, *_files(paths)):
            if not file.exists():
                continue
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._sent.get(file.name) != stamp:
                self._patiently(lambda file=file: self._at(attempt, file).send(file))  # type: ignore[misc]
                self._sent[file.name] = stamp

    def bring_home(self, paths: TrialPaths, *, attempt: int, state: bool) -> None:
        """Moves the files of a finished trial into its folder, once; the logs of its attempts become one.

        Args:
            paths: the trial's.
            attempt: its last one. What later ones left is not the trial's; neither is what comes after it is home.
            state: whether its checkpoint is wanted as well, as that of a failed trial is.

        Raises:
            EngineError: the store stayed away.
        """
        found = self._patiently(self._attempts)
        if not paths.home.exists():
            own = {number: names for number, names in found.items() if number <= attempt}
            wanted = [file for file in _files(paths) if state or file != paths.checkpoint]
            self._fetch(wanted, paths, own)
            logs = [self._at(number, paths.log) for number in sorted(own) if paths.log.name in own[number]]
            if logs:
                texts = [self._patiently(log.read) for log in logs]
                with written_aside(paths.log) as aside:
                    aside.write_bytes(b"".join(texts))
            paths.root.mkdir(parents=True, exist_ok=True)
            paths.home.write_text(f"{max(own, default=0)}\n", encoding="utf-8")
        if found:
            self._patiently(lambda: self._place.remove())

    def _fetch(self, wanted: Iterable[Path], paths: TrialPaths, found: Mapping[int, list[str]]) -> None:
        """Fetches files of the latest attempt that left a checkpoint: one that died at its start left less."""
        whole = [number for number, names in found.items() if paths.checkpoint.name in names]
        latest = max(whole or found, default=None)
        for file in wanted:
            if latest is not None and file.name in found[latest]:
                self._patiently(partial(self._at(latest, file).fetch, file))

    def _attempts(self) -> dict[int, list[str]]:
        """Returns the names of the files of each attempt that left any."""
        found: dict[int, list[str]] = {}
        if self._place.exists:
            for name, _ in self._place.below():
                if (parts := _FOLDER.fullmatch(name)) is not None:
                    found.setdefault(int(parts[1]), []).append(parts[2])
        return found

    @cached_property
    def _place(self) -> Location:
        return locate(self._text)  # it may ask the store

    def _at(self, attempt: int, file: Path) -> Location:
        return self._place / f"attempt-{attempt:04d}" / file.name

    def _patiently(self, ask: Callable[[], Value]) -> Value:
        """Asks until there is an answer, with growing pauses."""
        end, pause = time.monotonic() + self._patience, 1.0
        while True:
            try:
                return ask()
            except (OSError, DataError) as error:
                if is_full(error) or time.monotonic() + pause > end:
                    raise EngineError(
                        "`checkpoints.remote` must take and give the files of running trials, but "
                        f"`{self._shown}` did not for {self._patience:.0f} s ({error})."
                    ) from error
                _log.warning("`%s` does not answer (%s); asking again in %.0f s.", self._shown, error, pause)
                time.sleep(pause)
                pause = min(2.0 * pause, _LONGEST_PAUSE)


def place_of(trial: TrialPaths, sweep: SweepPaths, remote: str | None, sweep_id: str) -> str | None:
    """Returns the place of a trial's files; None where there is no store.

    Args:
        trial: its folder.
        sweep: the folder of its sweep.
        remote: `checkpoints.remote`.
        sweep_id: of the sweep: others of its name may use the same store.
    """
    if remote is None:
        return None
    folder, mark, options = remote.partition("?")
    return f"{folder.rstrip('/')}/{key_of(trial, sweep, sweep_id)}{mark}{options}"


def key_of(trial: TrialPaths, sweep: SweepPaths, sweep_id: str) -> str:
    """Returns a trial's folder within whatever holds the files of several sweeps."""
    return f"{sweep.root.name}-{sweep_id[:8]}/{trial.root.relative_to(sweep.root).as_posix()}"


def check_remote(remote: str) -> None:
    """Writes a small file to a store and removes it.

    Raises:
        InputError: there is no such place, or it does not let this process write.
    """
    folder, mark, options = remote.partition("?")
    name = f"{folder.rstrip('/')}/.check-{socket.gethostname()}-{os.getpid()}"
    try:
        place = locate(f"{name}{mark}{options}")
        with NamedTemporaryFile() as file:
            (place / "file").send(Path(file.name))
        place.remove()
    except (OSError, DataError) as error:
        raise InputError(
            f"`checkpoints.remote` must be a place that lets this process write, but `{folder}` does not: {error}."
        ) from error


def _files(paths: TrialPaths) -> tuple[Path, ...]:
    """What an attempt goes on from, and what is left of it at its end."""
    return paths.config, paths.best, paths.predictions, paths.checkpoint

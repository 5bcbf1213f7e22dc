"""A trial's files in an object store, for workers that share no folder with the driver.

Each attempt leaves its files there after each epoch, before it tells of the epoch, under its own number; the next one,
on whatever machine, begins with those. So two attempts cannot spoil each other, as with a `Lease` on a disk. When the
trial is finished the driver takes its files home and the store is rid of them.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from sweeper.data import Location, locate
from sweeper.disk import is_full
from sweeper.errors import DataError, EngineError
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
        remote.bring_home(paths, attempt=2)  # in the driver
    """

    def __init__(self, place: str, *, patience: float = _PATIENCE) -> None:
        """Opens nothing yet.

        Args:
            place: a URI, or the path of a folder that all machines see.
            patience: seconds that the store may be away.

        Raises:
            DataError: no such kind of place is known.
        """
        self._place = locate(place)
        self._patience = patience
        self._sent: dict[str, tuple[int, int]] = {}

    def begin(self, paths: TrialPaths, *, attempt: int) -> None:
        """Puts the files of the latest earlier attempt into a trial's folder, in place of what is in it.

        Raises:
            EngineError: the store stayed away.
        """
        found = self._patiently(self._attempts)
        earlier = max((number for number in found if number < attempt), default=None)
        if earlier is None:
            return
        for file in _files(paths):
            file.unlink(missing_ok=True)
        self._fetch(paths, earlier, found[earlier])

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
                self._patiently(partial((self._of(attempt) / file.name).send, file))
                self._sent[file.name] = stamp

    def bring_home(self, paths: TrialPaths, *, attempt: int) -> None:
        """Moves the files of a finished trial into its folder; the logs of its attempts become one.

        Args:
            paths: the trial's.
            attempt: its last one; where that left nothing, the one before it counts. What later ones left is not its.

        Raises:
            EngineError: the store stayed away.
        """
        found = self._patiently(self._attempts)
        whole = sorted(number for number in found if number <= attempt)
        if whole:
            self._fetch(paths, whole[-1], found[whole[-1]])
            logs = [self._of(number) / paths.log.name for number in whole if paths.log.name in found[number]]
            texts = [self._patiently(log.read) for log in logs]
            with written_aside(paths.log) as aside:
                aside.write_bytes(b"".join(texts))
        if found:
            self._patiently(self._place.remove)

    def _fetch(self, paths: TrialPaths, attempt: int, names: list[str]) -> None:
        for file in _files(paths):
            if file.name in names:
                self._patiently(partial((self._of(attempt) / file.name).fetch, file))

    def _attempts(self) -> dict[int, list[str]]:
        """Returns the names of the files of each attempt that left any."""
        found: dict[int, list[str]] = {}
        if self._place.exists:
            for name, _ in self._place.below():
                if (parts := _FOLDER.fullmatch(name)) is not None:
                    found.setdefault(int(parts[1]), []).append(parts[2])
        return found

    def _of(self, attempt: int) -> Location:
        return self._place / f"attempt-{attempt:04d}"

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
                        f"`{self._place.text}` did not for {self._patience:.0f} s ({error})."
                    ) from error
                _log.warning("`%s` does not answer (%s); asking again in %.0f s.", self._place.text, error, pause)
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
    return f"{remote.rstrip('/')}/{sweep.root.name}-{sweep_id[:8]}/{trial.root.relative_to(sweep.root).as_posix()}"


def _files(paths: TrialPaths) -> tuple[Path, ...]:
    """What an attempt goes on from, and what is left of it at its end."""
    return paths.config, paths.best, paths.predictions, paths.checkpoint

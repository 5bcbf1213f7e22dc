"""Which attempt at a trial may write into its folder: the latest one and no other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import SupersededError
from sweeper.paths import TrialPaths, written_aside


@dataclass(frozen=True)
class Lease:
    """The right of one attempt to write files of its trial; a later attempt takes it away.

    After a partition, or a kill that left a worker behind, two attempts may train one trial for a while. Each writes
    aside in a folder of its own and moves whole files from there into place. A later attempt first takes the
    earlier ones' folders away: a move out of a folder that is gone fails, at whatever moment, so nothing of an
    earlier attempt can arrive after that. This needs no lock, and holds on any file system that renames
    atomically, NFS too.

    Usage::

        lease = Lease.take(paths, attempt=2)
        with lease.written(paths.best) as aside:
            save_file(weights, aside)
    """

    folder: Path
    """Of this attempt; there for as long as the lease is held."""

    @classmethod
    def take(cls, paths: TrialPaths, attempt: int) -> Lease:
        """Takes the trial over from all earlier attempts.

        Raises:
            SupersededError: a later attempt has it already.
        """
        lease = cls(paths.attempt(attempt))
        lease.folder.mkdir(parents=True, exist_ok=True)
        # Made before it looks: of two attempts that start together, the earlier one sees the later, or is seen by it.
        for folder in paths.attempts():
            if folder.name > lease.folder.name:
                lease.release()
                raise lease._superseded()
            if folder.name < lease.folder.name:
                taken = lease.folder / folder.name
                shutil.rmtree(taken, ignore_errors=True)
                with suppress(FileNotFoundError):
                    folder.rename(taken)
                shutil.rmtree(taken, ignore_errors=True)
        return lease

    @contextmanager
    def written(self, path: Path) -> Iterator[Path]:
        """Gives a temporary path and moves it to `path` when the block ends well, as `written_aside` does.

        Raises:
            SupersededError: a later attempt has the trial; `path` is left as that one wants it.
        """
        try:
            with written_aside(path, within=self.folder) as aside:
                yield aside
        except Exception as error:
            if self.folder.exists():
                raise
            raise self._superseded() from error

    def release(self) -> None:
        """Gives the lease back; nothing can be written with it any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _superseded(self) -> SupersededError:
        attempt, trial = int(self.folder.name.rpartition("-")[2]), self.folder.parent
        return SupersededError(
            f"Only the latest attempt at a trial may write its files, but attempt {attempt} in `{trial}` was taken for "
            "lost, and a later one goes on; this one ends."
        )


def end_attempts(paths: TrialPaths) -> None:
    """Takes a trial that is over away from all its attempts, also from one that was taken for lost."""
    for folder in paths.attempts():
        shutil.rmtree(folder, ignore_errors=True)

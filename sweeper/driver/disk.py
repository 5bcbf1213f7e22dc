"""The sweep's disk: what of it is kept, how much it may take, and when it has no room."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from typing import Final

from sweeper.disk import size, told
from sweeper.driver.ranking import best_first, front
from sweeper.paths import SweepPaths
from sweeper.records import TrialRecord, TrialState
from sweeper.spec import SweepSpec

_LEAST_BYTES: Final = 8 * 2**20
"""What the ledger and the logs need besides a trial's files."""
_ROOM: Final = 1.5
"""A disk that was full has room again only above its need by this: else the next epoch would fill it."""
_GLANCE_SECONDS: Final = 1.0
_WEIGHING_SHARE: Final = 0.05
"""Of the driver's time that goes into looking how large the trials' files are, at most."""
_COUNT_SECONDS: Final = 30.0
"""Adding up all files takes longer than asking how much is free."""


class Disk:
    """Keeps the best trials' weights and no others, and says when there is no room for a trial."""

    def __init__(self, spec: SweepSpec, paths: SweepPaths) -> None:
        self._spec, self._paths = spec, paths
        self._was_full = False
        self._looked = self._counted = float("-inf")
        self._why: str | None = None
        self._used = 0
        self._needed, self._weighed, self._pause = 0, float("-inf"), 0.0
        self._kept: dict[int, TrialRecord] = {}
        self._failed: set[int] = set()

    def filled(self) -> None:
        """Says that something could not be written for want of room."""
        self._was_full = True
        self._looked = self._weighed = float("-inf")

    def why_full(self) -> str | None:
        """Returns why nothing can be written for now, a sentence or two; None where there is room."""
        if time.monotonic() - self._looked > _GLANCE_SECONDS:
            self._looked = time.monotonic()
            self._why = self._look()
        return self._why

    def tidy(self, ended: Iterable[TrialRecord]) -> None:
        """Removes what is not to be kept, now that trials have ended; those of earlier calls are known.

        Never what a trial that is not finished needs, nor weights that another sweep's teacher is (it has left a
        mark), nor those of the best trial. The state of a failed trial, from which it may be run again, goes only
        where `checkpoints.disk_gb` leaves no other way.
        """
        new = {record.number: record for record in ended}
        self._failed |= {number for number, record in new.items() if record.state is TrialState.FAILED}
        # Who is not among the best of those that were kept is not among the best of all.
        rivals = sorted((self._kept | new).values(), key=lambda record: record.number)
        ranked = best_first(rivals, self._spec.search)
        kept = set(ranked[: self._spec.checkpoints.keep]) | front(rivals, self._spec.search)
        self._kept = {record.number: record for record in rivals if record.number in kept}
        self._remove_weights(number for number in ranked if number not in kept)
        if self._over():
            for number in sorted(self._failed):
                self._paths.trial(number).checkpoint.unlink(missing_ok=True)
            self._failed.clear()
            for number in reversed(ranked[1:]):
                if not self._over():
                    break
                self._remove_weights([number])

    def _remove_weights(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            trial = self._paths.trial(number)
            if not trial.keep.exists():
                trial.best.unlink(missing_ok=True)
                self._counted = float("-inf")

    def _over(self) -> bool:
        budget = self._spec.checkpoints.disk_gb
        return budget is not None and self._taken() > budget * 1e9

    def _taken(self) -> int:
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._counted = time.monotonic()
            self._used = size(self._paths.root / "trials")
        return self._used

    def _look(self) -> str | None:
        free = shutil.disk_usage(self._paths.root).free
        need = self._need() * (_ROOM if self._was_full else 1.0)
        if free < need:
            self._was_full = True
            return (
                f"The disk of `{self._paths.root}` is full: {told(free)} are free, and a trial needs about "
                f"{told(need)}. Delete what you can do without{self._largest()}; the sweep goes on by itself when "
                "there is room."
            )
        self._was_full = False
        budget = self._spec.checkpoints.disk_gb
        if budget is not None and self._over():
            return (
                f"The sweep takes {told(self._taken())}, more than `checkpoints.disk_gb`, {budget:g}, though all that "
                f"may go is gone. Raise it with `sweeper stop` and `sweeper resume {self._spec.name} --set "
                f"checkpoints.disk_gb={2 * budget:g}`."
            )
        return None

    def _need(self) -> int:
        """Returns the bytes that a trial writes: its state anew beside the old one, and its best weights likewise."""
        now = time.monotonic()
        if now - self._weighed > self._pause:
            trials = self._paths.root / "trials"
            states = [size(path) for path in trials.glob("*/last.ckpt")]
            weights = [size(path) for path in trials.glob("*/best.safetensors")]
            self._needed = _LEAST_BYTES + max(states, default=0) + max(weights, default=0)
            self._weighed = time.monotonic()
            # Looking into ten thousand folders takes a while.
            self._pause = (self._weighed - now) / _WEIGHING_SHARE
        return self._needed

    def _largest(self) -> str:
        folders = [path for path in self._paths.root.parent.iterdir() if path.is_dir() and path != self._paths.root]
        sizes = {path: size(path) for path in folders}
        largest = max(sizes, key=lambda path: sizes[path], default=None)
        return f" (`{largest}` takes {told(sizes[largest])})" if largest is not None and sizes[largest] > 1e6 else ""

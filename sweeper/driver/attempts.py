"""The one place where suggestions, workers, the ledger, the tracker and the observer meet."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sweeper.data.prepared import Prepared
from sweeper.driver.assignment import Assignment
from sweeper.driver.disk import Disk
from sweeper.driver.divergence import diverged
from sweeper.driver.homecoming import Homecoming
from sweeper.driver.limits import Limits
from sweeper.driver.observer import SweepObserver
from sweeper.driver.requests import Bulletin
from sweeper.driver.shortage import Shortage
from sweeper.folder import read_worker
from sweeper.paths import CachePaths, SweepPaths, written_aside
from sweeper.planning.packing import Packing, packing_of
from sweeper.planning.share import Share
from sweeper.records import Decision, EpochMetrics, Failure, Suggestion, TrialRecord, TrialState, WaitingTrial
from sweeper.search import Ledger
from sweeper.spec import SweepSpec, TrialConfig, resolve
from sweeper.tracking import Tracker
from sweeper.trial.lease import end_attempts
from sweeper.trial.remote import key_of, place_of


@dataclass(frozen=True)
class Sweep:
    """A sweep that is ready to run."""

    spec: SweepSpec
    paths: SweepPaths
    cache: CachePaths
    ledger: Ledger
    tracker: Tracker
    observer: SweepObserver
    share: Share
    """What a trial gets that was not measured yet."""
    gpu_mb: float | None = None
    """Memory of the smallest GPU that a trial may get, in MiB; None where that is not known."""

    @cached_property
    def packing(self) -> Packing:
        """What each trial gets."""
        return packing_of(self.spec, self.share, self.ledger.records(), gpu_mb=self.gpu_mb)


_ASKED: Final = "ended by `sweeper stop --trial`"


@dataclass(frozen=True)
class _Live:
    """A trial that a worker has, or is about to get."""

    number: int
    config: TrialConfig
    share: Share


class Attempts:
    """Hands out trials and takes in what becomes of them, by Ray's name of each attempt.

    A Ray trial is one attempt at a trial of the sweep: a trial whose worker is lost comes back as a new
    attempt, exactly as a trial that an earlier driver left behind, so there is one way to go on.
    """

    def __init__(
        self,
        sweep: Sweep,
        slots: Callable[[], int],
        *,
        paused: Callable[[], str | None] = lambda: None,
        disk: Disk | None = None,
    ) -> None:
        """Starts with nothing live.

        Args:
            sweep: what to run.
            slots: how many trials run at once, now.
            paused: why nothing is to run for now, or None.
            disk: the sweep's disk.
        """
        self._sweep = sweep
        self._slots = slots
        self._paused = paused
        self._bulletin = Bulletin(sweep.paths)
        self._disk = disk or Disk(sweep.spec, sweep.paths)
        self._home = Homecoming(sweep.spec, sweep.paths, sweep_id=sweep.ledger.sweep_id)
        self._live: dict[str, _Live] = {}
        self._to_take_up: deque[int] = deque()
        self._why: dict[int, str] = {}
        self._losses: dict[int, int] = {}
        self._shortage = Shortage()
        self._short: set[str] = set()
        self._limits = Limits(sweep.spec, sweep.ledger, sweep.share)
        self._finished = sum(record.state.is_finished for record in sweep.ledger.records())
        self._ended: str | None = None
        sweep.ledger.end(None)  # it may have been given more since

    def take_over(self) -> None:
        """Queues the trials that the ledger has as running: an earlier driver, or Tune run, left them behind.

        What a driver that was killed did not come to clear away is cleared away now.
        """
        finished = [record for record in self._sweep.ledger.records() if record.state.is_finished]
        for record in finished:
            self._clear(record)
            self._home.expect(record)
        self._disk.tidy(finished)
        self._live.clear()
        self._to_take_up = deque(self._sweep.ledger.interrupted())
        for number in self._to_take_up:
            self._why.setdefault(number, "it was interrupted, and goes on when a slot is free")
        self.tell()

    def why_short(self) -> str | None:
        """Why no trial starts for a while, a sentence, where machines are short of memory."""
        return "Machines are short of memory; the next trial starts in a moment." if self._shortage.lasts else None

    @property
    def are_idle(self) -> bool:
        """Whether no worker has a trial."""
        return not self._live

    def tell(self) -> None:
        """Brings what other processes can read of this driver up to date."""
        waiting = [WaitingTrial(number=number, why=self._why[number]) for number in self._to_take_up]
        running = sorted(live.number for live in self._live.values())
        self._bulletin.tell(slots=self._slots(), running=running, waiting=waiting, paused=self._paused())

    def close(self) -> None:
        """Waits for what is on its way home, and takes down what `tell` wrote: this driver ends."""
        self._arrivals(wait=True)
        self._bulletin.take_down()

    @property
    def are_over(self) -> bool:
        """Whether nothing runs, nothing waits to be taken up, and no more trial is to be started."""
        if self._live or self._to_take_up:
            return False
        if self._is_enough():
            return True
        records = self._sweep.ledger.records()
        return len(records) >= self._sweep.ledger.total and all(record.state.is_finished for record in records)

    def next(self, name: str) -> Assignment | None:
        """Returns what the attempt called `name` is to run; None when nothing should start now.

        A point is asked for only when a slot is free for it: a suggestion made earlier would know less.
        """
        self._arrivals()
        if len(self._live) >= self._slots() or self._paused() is not None or self._shortage.lasts:
            return None
        suggestion = self._suggestion()
        if suggestion is None:
            return None
        self._why.pop(suggestion.number, None)
        config = resolve(self._sweep.spec, suggestion.params)
        share = self._sweep.packing.share(suggestion.params)
        self._live[name] = _Live(suggestion.number, config, share)
        self._track(self._live[name])
        self._sweep.observer.trial_started(suggestion)
        self.tell()
        trial = self._sweep.paths.trial(suggestion.number)
        place = place_of(trial, self._sweep.paths, self._sweep.spec.checkpoints.remote, self._sweep.ledger.sweep_id)
        own = self._sweep.cache.running / key_of(trial, self._sweep.paths, self._sweep.ledger.sweep_id)
        return Assignment(
            sweep=self._sweep.paths.root.name,
            number=suggestion.number,
            attempt=suggestion.attempt,
            config=config,
            folder=trial.root if place is None else own,
            remote=place,
            cache=self._sweep.cache.root,
            device=share.device,
            threads=share.threads,
            gpus=share.gpus,
            stall_seconds=60.0 * stall if (stall := self._sweep.spec.resources.stall_minutes) is not None else None,
        )

    def _suggestion(self) -> Suggestion | None:
        """Returns a trial that was begun before, else a new point if one may be asked for."""
        while self._to_take_up:
            number = self._to_take_up.popleft()
            if not self._is_unwanted(number):
                return self._sweep.ledger.take_up(number)
            self._sweep.ledger.stop(number, reason=_ASKED)
        return None if self._is_enough() else self._sweep.ledger.ask()

    def _is_enough(self) -> bool:
        """Whether no new trial is to be started, although the ledger has more to ask for."""
        ledger = self._sweep.ledger
        if self._ended is None and ledger.has_more:
            self._ended = self._limits.reason(finished=self._finished)
            if self._ended is not None:
                ledger.end(self._ended)
                self._sweep.observer.note(f"No new trial starts. {self._ended}")
        return self._ended is not None

    def epoch_ended(self, name: str, epoch: EpochMetrics) -> Decision:
        """Writes an epoch down; STOP closes the trial as stopped early."""
        live = self._live[name]
        number = live.number
        is_last = epoch.epoch >= live.config.train.epochs
        epoch = epoch.model_copy(update={"gpus": live.share.gpus or None})
        if epoch.epoch > len(self._sweep.ledger.record(number).epochs):  # a trial that goes on tells of earlier ones
            self._shortage.passed()
        decision = self._sweep.ledger.report(number, epoch, is_last=is_last)
        self._limits.epoch_ended(number, epoch)
        if self._limits.time_is_up and not is_last:
            decision = Decision.STOP
        self._sweep.observer.epoch_ended(number, epoch, decision)
        if decision is Decision.STOP:
            self._sweep.ledger.stop(number)
        elif not is_last:
            decision = self._judge(number)
        if decision is Decision.STOP:
            self._closed(name)
            return decision
        self._track(live)
        takes_less = self._takes_less(live)
        if is_last or (self._paused() is None and not takes_less):
            return decision
        # Its checkpoint is written: the worker can be let go, and another one goes on from there.
        paused = "the sweep is paused; it goes on from its last epoch"
        self._put_back(name, "it goes on with the part of a GPU that it needs" if self._paused() is None else paused)
        return Decision.STOP

    def _takes_less(self, live: _Live) -> bool:
        """Takes in what a trial's epoch took of memory; returns whether less of a GPU would do from here on."""
        if self._sweep.gpu_mb is None:
            return False
        record = self._sweep.ledger.record(live.number)
        told = self._sweep.packing.learn(record)
        if told is not None:
            self._sweep.observer.note(told)
        return self._sweep.packing.share(record.params).gpus < live.share.gpus

    def _judge(self, number: int) -> Decision:
        """Closes a trial for a reason that is not the stop rule's, where there is one."""
        record, limit = self._sweep.ledger.record(number), self._sweep.spec.resources.hours_per_trial
        why = diverged(record.epochs, classes=self._classes) if self._sweep.spec.search.stop_diverged else None
        if why is not None:
            self._sweep.ledger.fail(number, Failure(reason=why))
        elif self._is_unwanted(number):
            self._sweep.ledger.stop(number, reason=_ASKED)
        elif limit is not None and record.seconds >= 3600.0 * limit:
            self._sweep.ledger.stop(
                number, reason=f"it took {limit:g} hours, all that `resources.hours_per_trial` gives"
            )
        else:
            return Decision.CONTINUE
        return Decision.STOP

    @cached_property
    def _classes(self) -> int:
        data = self._sweep.paths.data
        return len(Prepared.model_validate_json(data.read_bytes()).classes) if data.exists() else 1

    def _is_unwanted(self, number: int) -> bool:
        return self._sweep.paths.trial(number).stop_request.exists()

    def _put_back(self, name: str, why: str) -> None:
        """Lets a trial wait to be taken up again."""
        number = self._live.pop(name).number
        self._to_take_up.append(number)
        self._why[number] = why
        self.tell()

    def disk_filled(self, name: str) -> None:
        """Lets a trial wait that could not write its files: that is no fault of its own, and no loss."""
        if name in self._live:
            self._disk.filled()
            self._put_back(name, "the disk was full; it goes on from its last epoch when there is room")

    def ended(self, name: str, failure: Failure | None) -> None:
        """Closes a trial whose worker came to its end, well or not."""
        if name not in self._live:
            return  # the stop rule closed it already
        number = self._live[name].number
        if failure is None:
            self._sweep.ledger.complete(number)
        else:
            self._sweep.ledger.fail(number, failure)
        self._closed(name)

    def preempted(self, name: str, where: str) -> None:
        """Takes up a trial whose machine is about to go; that is nobody's fault and may happen any number of times.

        Args:
            name: of the attempt.
            where: it goes on, a sentence.
        """
        if name not in self._live:
            return
        self._sweep.observer.trial_preempted(self._live[name].number, where)
        self._put_back(name, f"its worker's machine was taken away. {where}")

    def lost(self, name: str) -> None:
        """Takes up a trial whose worker or node is gone, unless it happened too often."""
        if name not in self._live:
            return
        number = self._live[name].number
        self._losses[number] = self._losses.get(number, 0) + 1
        again = self._losses[number] <= self._sweep.spec.resources.retries
        stacks = self._stacks(number)
        why = f"its worker hung: no batch for {self._sweep.spec.resources.stall_minutes:g} minutes" if stacks else None
        if why is not None:
            self._sweep.observer.note(f"Trial {number}: {why}; it was ended.")
        elif name in self._short:
            why = "its worker was ended for memory"
        self._sweep.observer.trial_lost(number, again=again)
        if again:
            attempts = self._sweep.spec.resources.retries + 1
            why = why or "its worker or node was lost"
            self._put_back(name, f"{why} (attempt {self._losses[number]} of {attempts})")
        else:
            times = self._losses[number]
            reason = f"its worker was lost {times} time{'s' if times > 1 else ''}; `resources.retries` allows no more"
            self._sweep.ledger.fail(number, Failure(reason=f"{why}; {reason}" if why else reason, traceback=stacks))
            self._closed(name)

    def _stacks(self, number: int) -> str:
        """Returns where the threads of a worker were that hung; empty for one that was lost in another way."""
        file = self._sweep.paths.trial(number).stall
        stacks = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        file.unlink(missing_ok=True)
        return stacks

    def worker_ended(self, name: str | None, message: str) -> None:
        """Takes in what Ray says of a worker's end, before `lost` closes or takes up its trial.

        Where that was for memory nothing starts for a while, and the trials whose processes `message` names begin
        their next attempts with half of the images in one pass.

        Args:
            name: of the attempt; None where Tune itself died of it.
            message: Ray's.
        """
        told = self._shortage.met(message)
        if told is None:
            return
        self._sweep.observer.note(told)
        if name is not None:
            self._short.add(name)
        pids = {int(pid) for pid in re.findall(r"pid=(\d+)", message)}
        for live in self._live.values():
            paths = self._sweep.paths.trial(live.number)
            worker = read_worker(paths)
            if worker is not None and worker.pid in pids:
                marked = worker.model_copy(update={"killed_for_memory": True})
                with written_aside(paths.worker, flush=False) as aside:
                    aside.write_text(marked.model_dump_json(), encoding="utf-8")

    def _closed(self, name: str) -> None:
        live = self._live.pop(name)
        number = live.number
        self._track(live)
        self._sweep.paths.trial(number).stop_request.unlink(missing_ok=True)
        record = self._sweep.ledger.record(number)
        self._finished += 1
        self.tell()
        self._sweep.observer.trial_ended(record)
        self._clear(record)
        self._disk.tidy([record])
        self._home.expect(record)

    def _arrivals(self, *, wait: bool = False) -> None:
        """Tidies up behind trials whose files came home since."""
        for record, why_not in self._home.arrived(wait=wait):
            if why_not is not None:
                self._sweep.observer.note(f"{why_not} The next `sweeper resume` takes trial {record.number} home.")
                continue
            self._clear(record)
            self._disk.tidy([record])

    def _clear(self, record: TrialRecord) -> None:
        """Removes what a finished trial needs no more; a failed one keeps its state for whoever looks into it."""
        trial = self._sweep.paths.trial(record.number)
        end_attempts(trial)
        if record.state is not TrialState.FAILED:
            trial.checkpoint.unlink(missing_ok=True)

    def _track(self, live: _Live) -> None:
        self._sweep.tracker.update(self._sweep.ledger.record(live.number), live.config)

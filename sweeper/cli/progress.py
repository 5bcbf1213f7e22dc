"""A running sweep on the screen: a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeper.cli.preparing import PlainProgress
from sweeper.cli.tables import point
from sweeper.driver.observer import SweepObserver
from sweeper.records import METRICS, Decision, EpochMetrics, Suggestion, TrialRecord, TrialState
from sweeper.results import rank_for
from sweeper.spec import SweepSpec, resolve


@contextmanager
def watching(spec: SweepSpec, console: Console) -> Iterator[SweepObserver]:
    """Gives the observer that suits the console, and takes a live table down at the end."""
    if not console.is_terminal:
        yield PlainView(spec, console)
        return
    view = LiveView(spec, console)
    with Live(console=console, get_renderable=view.render, refresh_per_second=4, transient=True):
        yield view


class PlainView(SweepObserver):
    """One line for each thing that happens."""

    def __init__(self, spec: SweepSpec, console: Console) -> None:
        self._spec = spec
        self._console = console
        self._metric = METRICS[spec.search.objective]
        self._preparing = PlainProgress(console)

    def preparing(self, what: str, done: int, total: int) -> None:
        """Says how far the preparation is, every few seconds and at its end."""
        self._preparing(what, done, total)

    def started(self, records: tuple[TrialRecord, ...], *, total: int, slots: int) -> None:
        """Says what lies ahead."""
        done = sum(record.state.is_finished for record in records)
        before = f", {done} of them done before" if done else ""
        self._line(f"sweep `{self._spec.name}`: {total} trials{before}, {slots} at a time; starting workers")

    def trial_started(self, suggestion: Suggestion) -> None:
        """Shows the point."""
        again = f"  attempt {suggestion.attempt}" if suggestion.attempt > 1 else ""
        self._line(f"trial {suggestion.number}  started{again}  {point(suggestion.params)}")

    def epoch_ended(self, number: int, epoch: EpochMetrics, decision: Decision) -> None:
        """Shows the epoch's objective and speed."""
        value = format(epoch.value(self._metric.name), self._metric.format)
        self._line(
            f"trial {number}  epoch {epoch.epoch}  {self._metric.title} {value}  train loss {epoch.train_loss:.3f}  "
            f"{epoch.images_per_second:.0f} images/s  {epoch.train_seconds + epoch.eval_seconds:.0f} s"
            f"{f'  micro-batch {epoch.micro_batch}' if epoch.micro_batch else ''}"
        )

    def trial_ended(self, record: TrialRecord) -> None:
        """Shows what became of the trial."""
        best = record.best_epoch(self._metric.name)
        result = ""
        if best is not None:
            result = f"  best {self._metric.title} {format(best.value(self._metric.name), self._metric.format)}"
            result += f" at epoch {best.epoch}"
        why = f"  {record.failure.reason}" if record.failure else ""
        self._line(f"trial {record.number}  {record.state.value}{result}{why}")

    def trial_lost(self, number: int, *, again: bool) -> None:
        """Says that a worker is gone."""
        self._line(f"trial {number}  lost its worker{'; it will go on from its last epoch' if again else ''}")

    def trial_preempted(self, number: int, where: str) -> None:
        """Says that a worker has to go."""
        self._line(f"trial {number}  preempted: its machine is taken away. {where}")

    def note(self, message: str) -> None:
        """Shows the sentence."""
        self._line(message)

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class LiveView(PlainView):
    """Finished trials scroll by; what runs, and why the rest waits, stays at the bottom."""

    def __init__(self, spec: SweepSpec, console: Console) -> None:
        super().__init__(spec, console)
        self._running: dict[int, tuple[Suggestion, EpochMetrics | None]] = {}
        self._records: dict[int, TrialRecord] = {}
        self._total = spec.search.trials
        self._slots = 1
        self._step = "checking backbones, weights and images"

    def preparing(self, what: str, done: int, total: int) -> None:
        """Keeps how far the preparation is."""
        self._step = f"{what}: {done}/{total}"

    def started(self, records: tuple[TrialRecord, ...], *, total: int, slots: int) -> None:
        """Keeps what earlier runs did."""
        self._records = {record.number: record for record in records if record.state.is_finished}
        self._total, self._slots, self._step = total, slots, ""

    def trial_started(self, suggestion: Suggestion) -> None:
        """Adds a line to the table."""
        self._running[suggestion.number] = (suggestion, None)

    def epoch_ended(self, number: int, epoch: EpochMetrics, decision: Decision) -> None:
        """Brings the trial's line up to date."""
        self._running[number] = (self._running[number][0], epoch)

    def trial_ended(self, record: TrialRecord) -> None:
        """Moves the trial from the table to the scrolling lines."""
        self._running.pop(record.number, None)
        self._records[record.number] = record
        super().trial_ended(record)

    def trial_lost(self, number: int, *, again: bool) -> None:
        """Takes the trial off the table."""
        self._running.pop(number, None)
        super().trial_lost(number, again=again)

    def trial_preempted(self, number: int, where: str) -> None:
        """Takes the trial off the table."""
        self._running.pop(number, None)
        super().trial_preempted(number, where)

    def render(self) -> Group:
        """Returns what stands at the bottom of the screen now."""
        if self._step:
            return Group(Text(self._step, style="dim"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("trial", "epoch", self._metric.title, "images/s", "point"):
            table.add_column(title, overflow="ellipsis", no_wrap=True)
        for number, (suggestion, epoch) in list(self._running.items()):
            value = format(epoch.value(self._metric.name), self._metric.format) if epoch else "starting"
            speed = f"{epoch.images_per_second:.0f}" if epoch else ""
            progress = f"{epoch.epoch if epoch else 0}/{resolve(self._spec, suggestion.params).train.epochs}"
            table.add_row(str(number), progress, value, speed, point(suggestion.params))
        done = len(self._records)
        return Group(table, ProgressBar(total=self._total, completed=done, width=60), Text(self._summary(done)))

    def _summary(self, done: int) -> str:
        records = list(self._records.values())  # drawn by another thread than the one that adds to it
        best = rank_for(records, self._spec.search).best
        failed = sum(record.state is TrialState.FAILED for record in records)
        parts = [f"{done}/{self._total} trials"]
        if best is not None:
            value = format(best.best.value(self._metric.name), self._metric.format)
            parts.append(f"best {self._metric.title} {value} (trial {best.number})")
        if failed:
            parts.append(f"{failed} failed")
        waiting = self._total - done - len(self._running)
        if waiting > 0:
            parts.append(f"{waiting} wait: {len(self._running)} of {self._slots} slots busy")
        return "   ".join(parts)

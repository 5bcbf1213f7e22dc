"""What a running sweep shows: plain lines, or a live table in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from sweeper.cli.progress import LiveView, PlainView, watching
from sweeper.records import Decision, EpochMetrics, Failure, Suggestion, TrialRecord, TrialState
from sweeper.spec import SweepSpec

SPEC = SweepSpec.model_validate(
    {"name": "s", "data": {"source": "digits"}, "backbone": "b", "train": {"epochs": 3}, "search": {"trials": 4}}
)
EPOCH = EpochMetrics(
    epoch=2, top1=0.81234, top5=1.0, macro_f1=0.8, balanced_accuracy=0.8, val_loss=0.5, train_loss=0.61234, lr=1e-3,
    train_seconds=10.0, eval_seconds=2.0, images_per_second=99.6, peak_memory_mb=1.0,
)  # fmt: skip
DONE = TrialRecord(number=0, state=TrialState.COMPLETE, params={"lr": 0.00123456}, epochs=(EPOCH,), attempts=1)


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def written(on: Console) -> list[str]:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue().splitlines()


def test_plain_lines_tell_the_story() -> None:
    on = console(terminal=False)
    view = PlainView(SPEC, on)
    view.started((DONE,), total=4, slots=2)
    view.trial_started(Suggestion(number=1, attempt=2, params={"lr": 0.00123456, "augment.policy": "3a"}))
    view.epoch_ended(1, EPOCH, Decision.CONTINUE)
    view.trial_lost(1, again=True)
    view.trial_ended(DONE)
    failure = Failure(reason="the loss is not finite")
    view.trial_ended(TrialRecord(number=2, state=TrialState.FAILED, params={}, failure=failure))
    view.note("A note.")
    assert written(on) == [
        "sweep `s`: 4 trials, 1 of them done before, 2 at a time; starting workers",
        "trial 1  started  attempt 2  lr=0.00123 augment.policy=3a",
        "trial 1  epoch 2  top-1 0.8123  train loss 0.612  100 images/s  12 s",
        "trial 1  lost its worker; it will go on from its last epoch",
        "trial 0  complete  best top-1 0.8123 at epoch 2",
        "trial 2  failed  the loss is not finite",
        "A note.",
    ]


def test_preparation_is_told_at_its_end_and_not_for_every_image() -> None:
    on = console(terminal=False)
    view = PlainView(SPEC, on)
    for done in range(1, 1001):
        view.preparing("decoding images", done, 1000)
    lines = written(on)
    assert lines[-1] == "decoding images: 1000/1000"
    assert len(lines) <= 3


def test_a_terminal_gets_a_table_of_what_runs_and_why_the_rest_waits() -> None:
    on = console(terminal=True)
    view = LiveView(SPEC, on)
    view.preparing("decoding images", 3, 9)
    with on.capture() as captured:
        on.print(view.render())
    assert "decoding images: 3/9" in captured.get()
    view.started((), total=4, slots=2)
    for number in (0, 1):
        view.trial_started(Suggestion(number=number, params={"lr": 1e-3}))
    view.epoch_ended(1, EPOCH, Decision.CONTINUE)
    view.trial_ended(DONE)
    with on.capture() as captured:
        on.print(view.render())
    shown = captured.get()
    assert "2/3" in shown
    assert "0.8123" in shown
    assert "1/4 trials   best top-1 0.8123 (trial 0)   2 wait: 1 of 2 slots busy" in shown
    view.trial_lost(1, again=False)
    with on.capture() as captured:
        on.print(view.render())
    assert "2/3" not in captured.get()


def test_the_view_suits_the_console() -> None:
    with watching(SPEC, console(terminal=False)) as plain, watching(SPEC, console(terminal=True)) as live:
        assert type(plain) is PlainView
        assert type(live) is LiveView

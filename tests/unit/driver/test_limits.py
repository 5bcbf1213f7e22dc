"""A sweep starts no more trials when a budget is used up, or when more would gain too little."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sweeper.driver.attempts import Attempts, Sweep
from sweeper.driver.limits import Limits
from sweeper.errors import ResourceError
from sweeper.planning.share import Share
from sweeper.records import EpochMetrics, TrialState

MakeSweep = Callable[..., Sweep]


def epoch(number: int, top1: float = 0.5, seconds: float = 1.0) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, top1=top1, top5=1.0, macro_f1=top1, balanced_accuracy=top1, val_loss=1 - top1, train_loss=1.0,
        lr=1e-3, train_seconds=seconds, eval_seconds=0.0, images_per_second=1.0, peak_memory_mb=1.0,
    )  # fmt: skip


def run_trial(attempts: Attempts, name: str, top1: float = 0.5, epochs: int = 2) -> bool:
    """Runs a trial as a worker does; returns whether there was one."""
    if attempts.next(name) is None:
        return False
    for number in range(1, epochs + 1):
        attempts.epoch_ended(name, epoch(number, top1))
    attempts.ended(name, None)
    return True


def test_when_the_epochs_are_used_up_the_sweep_is_over_and_says_so(make_sweep: MakeSweep, diary: object) -> None:
    sweep = make_sweep(search={"trials": 9, "budget": {"epochs": 3}})
    attempts = Attempts(sweep, slots=lambda: 1)
    assert run_trial(attempts, "a")
    assert run_trial(attempts, "b")  # begun with one epoch left, and finished
    assert attempts.next("c") is None
    assert attempts.are_over
    assert sweep.ledger.ended == "Its budget of 3 epochs is used up."
    assert sweep.ledger.spent.epochs == 4


def test_a_running_trial_is_finished_before_the_sweep_is_over(make_sweep: MakeSweep) -> None:
    attempts = Attempts(make_sweep(search={"trials": 9, "budget": {"epochs": 1}}), slots=lambda: 2)
    attempts.next("a")
    attempts.epoch_ended("a", epoch(1))
    assert attempts.next("b") is None
    assert not attempts.are_over
    attempts.epoch_ended("a", epoch(2))
    attempts.ended("a", None)
    assert attempts.are_over


def test_a_resumed_sweep_counts_what_was_used_before_and_goes_on_with_a_larger_budget(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 9, "budget": {"epochs": 2}})
    assert run_trial(Attempts(sweep, slots=lambda: 1), "a")
    again = Attempts(sweep, slots=lambda: 1)
    assert again.are_over
    assert sweep.ledger.ended == "Its budget of 2 epochs is used up."
    more = sweep.spec.model_copy(update={"search": sweep.spec.search.model_copy(update={"budget": budget(epochs=4)})})
    larger = Sweep(more, sweep.paths, sweep.cache, sweep.ledger, sweep.tracker, sweep.observer, sweep.share)
    assert run_trial(Attempts(larger, slots=lambda: 1), "b")


def budget(**given: float) -> object:
    from sweeper.spec.search import BudgetSpec

    return BudgetSpec.model_validate(given)


def test_when_the_hours_are_up_running_trials_end_with_their_epoch(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 9, "budget": {"hours": 1e-9}})
    sweep.ledger.note_spent(sweep.ledger.spent)
    number = sweep.ledger.ask()  # what an earlier driver left running
    assert number is not None
    attempts = Attempts(sweep, slots=lambda: 1)
    attempts.take_over()
    assert attempts.next("a") is not None
    attempts.epoch_ended("a", epoch(1))
    assert sweep.ledger.record(0).state is TrialState.STOPPED
    assert attempts.are_over
    assert sweep.ledger.ended == "Its budget of 1e-09 hours is used up."


def test_the_clock_goes_on_where_an_earlier_run_left_it_and_pauses_do_not_count(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"budget": {"money": 3.0}}, resources={"price_per_hour": 1.5})
    now = 0.0
    first = Limits(sweep.spec, sweep.ledger, sweep.share, clock=lambda: now)
    now = 1.5 * 3600
    first.epoch_ended(0, epoch(1))
    assert first.reason(finished=0) is None
    now = 1e9  # days later
    second = Limits(sweep.spec, sweep.ledger, sweep.share, clock=lambda: now)
    now += 0.5 * 3600
    assert second.spent.hours == pytest.approx(2.0)
    assert second.reason(finished=0) == "Its budget of 3 is used up, at 1.5 an hour."


def test_gpu_hours_count_each_epoch_once_times_its_gpus(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"budget": {"gpu_hours": 1.0}})
    limits = Limits(sweep.spec, sweep.ledger, Share(cpus=1, gpus=0.5))
    for _ in range(2):  # a trial taken up again tells of its epochs anew
        limits.epoch_ended(0, epoch(1, seconds=3600))
    assert limits.spent.gpu_hours == pytest.approx(0.5)
    assert limits.reason(finished=0) is None
    limits.epoch_ended(1, epoch(1, seconds=3600))
    assert limits.reason(finished=0) == "Its budget of 1 GPU-hours is used up."


def test_gpu_hours_are_refused_where_there_is_no_gpu(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"budget": {"gpu_hours": 1.0}})
    with pytest.raises(ResourceError) as caught:
        Limits(sweep.spec, sweep.ledger, sweep.share)
    assert str(caught.value) == (
        "`search.budget.gpu_hours` counts the hours of GPUs, but the trials run on CPUs here; set "
        "`search.budget.hours` or `epochs`."
    )


def test_patience_ends_a_sweep_whose_trials_are_all_alike(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(search={"trials": 50, "sampler": "random", "patience": {"gain": 0.01, "trials": 10}})
    attempts = Attempts(sweep, slots=lambda: 1)
    count = 0
    while run_trial(attempts, str(count), top1=0.8 + 0.0001 * (count % 3)):
        count += 1
    assert count == 8
    assert attempts.are_over
    assert (sweep.ledger.ended or "").startswith("10 more trials would likely gain ")
    assert (sweep.ledger.ended or "").endswith(" of top1, less than `search.patience.gain`, 0.01.")

"""A sweep named as a teacher is settled to its best trial before the student's sweep begins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper.driver.teachers import with_best_trials
from sweeper.errors import SpecError
from sweeper.folder import write_folder
from sweeper.paths import SweepPaths
from sweeper.records import EpochMetrics
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec


def metrics(epoch: int, top1: float) -> EpochMetrics:
    numbers = dict.fromkeys(EpochMetrics.model_fields, 0.0) | {"epoch": epoch, "top1": top1}
    return EpochMetrics.model_validate(numbers)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepPaths:
    """A sweep of three trials: the second has the best epoch, which is not its last."""
    paths = SweepPaths(tmp_path / "davit")
    spec = SweepSpec.model_validate(
        {
            "name": "davit",
            "data": {"source": "digits"},
            "backbone": "davit_tiny",
            "train": {"epochs": 2},
            "space": {"lr": {"log": [1e-4, 1e-2]}},
            "search": {"trials": 3, "sampler": "random"},
        }
    )
    paths.root.mkdir()
    write_folder(paths, spec, source=None)
    ledger = open_ledger(spec, storage_url(spec, paths), create=True)
    for history in ((0.5, 0.6), (0.9, 0.2), (0.7, 0.8)):
        suggestion = ledger.ask()
        assert suggestion is not None
        for epoch, top1 in enumerate(history, start=1):
            ledger.report(suggestion.number, metrics(epoch, top1), is_last=epoch == 2)
        ledger.complete(suggestion.number)
        paths.trial(suggestion.number).root.mkdir(parents=True)
        paths.trial(suggestion.number).best.touch()
    return paths


def student(**fields: object) -> SweepSpec:
    return SweepSpec.model_validate(
        {"name": "student", "data": {"source": "digits"}, "backbone": "dinat_mini", **fields}
    )


def test_a_sweep_stands_for_the_trial_with_the_best_epoch(sweep: SweepPaths) -> None:
    settled = with_best_trials(student(train={"teacher": str(sweep.root)}))
    assert settled.train.teacher == str(sweep.trial(1).root)


def test_teachers_are_settled_wherever_they_stand(sweep: SweepPaths) -> None:
    settled = with_best_trials(
        student(
            space={"teacher": {"choice": [str(sweep.root), None]}},
            overrides={"dinat*": {"set": {"train.teacher": str(sweep.root)}}},
            points=[{"teacher": str(sweep.root)}],
        )
    )
    best = str(sweep.trial(1).root)
    assert settled.space["teacher"].ends == (best, None)
    assert settled.overrides["dinat*"].set == {"train.teacher": best}
    assert settled.points[0] == {"teacher": best}


def test_any_other_folder_is_left_for_the_check(tmp_path: Path) -> None:
    spec = student(train={"teacher": str(tmp_path)})
    assert with_best_trials(spec) is spec


def test_a_trial_whose_weights_are_gone_does_not_count(sweep: SweepPaths) -> None:
    sweep.trial(1).best.unlink()
    settled = with_best_trials(student(train={"teacher": str(sweep.root)}))
    assert settled.train.teacher == str(sweep.trial(2).root)


def test_a_sweep_without_a_finished_epoch_is_refused(sweep: SweepPaths) -> None:
    for number in range(3):
        sweep.trial(number).best.unlink()
    message = (
        f"A sweep named as `teacher` must have a trial with a finished epoch, but `{sweep.root}` has none; name another "
        "one."
    )
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        with_best_trials(student(train={"teacher": str(sweep.root)}))

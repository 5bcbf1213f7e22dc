"""Real weights put together: a soup that opens as a trial, an ensemble that teaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sweeper.backbones import read_saved_model
from sweeper.combine.judging import Judge
from sweeper.combine.soup import Pot, make_soup, save_soup
from sweeper.data import DeviceBatch
from sweeper.errors import SpecError
from sweeper.export import load_model
from sweeper.paths import CachePaths, SweepPaths
from sweeper.predictions import Predictions, read_predictions
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine
from sweeper.trial.ensemble import Ensemble, EnsembleMember, write_ensemble
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from sweeper.trial.teacher import check_teacher, open_teacher

CPU = Machine(torch.device("cpu"), bf16=False)
SETTINGS = {
    "backbone": "test_efficientnet",
    "weights": "random",
    "data": {"source": "digits", "image_size": 32},
    "augment": {"hflip": 0.0},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CachePaths:
    return CachePaths(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def sweep(cache: CachePaths, tmp_path_factory: pytest.TempPathFactory) -> SweepPaths:
    """Two trials of one epoch that began with the same weights."""
    paths = SweepPaths(tmp_path_factory.mktemp("sweeps") / "digits")
    for number, lr in enumerate((5e-3, 4e-3)):
        train = {"epochs": 1, "batch_size": 64, "lr": lr, "warmup_epochs": 0.2}
        config = TrialConfig.model_validate({**SETTINGS, "train": train})
        for _ in run_trial(config, paths.trial(number), runtime=Runtime(device="cpu", threads=1, cache=cache)):
            pass
    return paths


def said_by(sweep: SweepPaths, number: int) -> Predictions:
    said = read_predictions(sweep.trial(number).predictions)
    assert said is not None
    return said


def test_a_soup_is_the_mean_of_its_trials_and_opens_as_a_trial(
    sweep: SweepPaths, cache: CachePaths, tmp_path: Path
) -> None:
    class Agreeable(Judge):
        def chooses(self, said: Predictions) -> float:
            return 1.0

    said = said_by(sweep, 0)
    rows = Judge.of("top1", said)
    tasted: list[tuple[int, bool]] = []
    saved = read_saved_model(sweep.trial(0).root)
    pot = Pot(saved, said, CPU, cache)
    judge = Agreeable("top1", rows.choosing, rows.judging)
    soup = make_soup(sweep, [0, 1], pot, judge, lambda number, is_in: tasted.append((number, is_in)))
    assert (soup.trials, tasted) == ((0, 1), [(1, True)])
    assert (soup.single.guesses == said.guesses).mean() > 0.99  # asked anew, the first trial says what it said

    to = replace(sweep.trial(0), root=tmp_path / "soup")
    save_soup(soup, sweep, to)
    first, second, mean = (load_file(path) for path in (sweep.trial(0).best, sweep.trial(1).best, to.best))
    for name, tensor in mean.items():
        expected = (first[name] + second[name]) / 2 if tensor.is_floating_point() else first[name]
        torch.testing.assert_close(tensor, expected)
    model = load_model(to.root, device="cpu")
    assert model.classes == said.info.classes
    assert len(model.predict([np.zeros((32, 32, 3), np.uint8)])) == 1


def test_a_trial_that_makes_the_soup_worse_is_left_out(sweep: SweepPaths, cache: CachePaths) -> None:
    class Choosy(Judge):
        def chooses(self, said: Predictions) -> float:
            return 1.0 if (said.guesses == said_by(sweep, 0).guesses).mean() > 0.99 else 0.0

    said = said_by(sweep, 0)
    rows = Judge.of("top1", said)
    pot = Pot(read_saved_model(sweep.trial(0).root), said, CPU, cache)
    soup = make_soup(sweep, [0, 1], pot, Choosy("top1", rows.choosing, rows.judging), lambda *_: None)
    assert soup.trials == (0,)


def test_an_ensemble_teaches_the_mean_of_its_members_calibrated_probabilities(sweep: SweepPaths) -> None:
    folder = sweep.combined.ensemble
    members = (
        EnsembleMember(folder="../../trials/0000", weight=0.75, temperature=2.0),
        EnsembleMember(folder="../../trials/0001", weight=0.25, temperature=0.5),
    )
    write_ensemble(Ensemble(members=members), folder)
    config = TrialConfig.model_validate({**SETTINGS, "train": {"teacher": str(folder.root)}})
    classes = read_saved_model(sweep.trial(0).root).classes
    check_teacher(config, classes=classes)
    students = [read_saved_model(sweep.trial(number).root).build() for number in (0, 1)]
    teacher = open_teacher(config, student=students[0], classes=classes, machine=CPU)
    assert teacher is not None
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (student.model(images) for student in students)
    expected = 0.75 * (one / 2.0).softmax(1) + 0.25 * (other / 0.5).softmax(1)
    taught = teacher(DeviceBatch((images,), torch.zeros(4, dtype=torch.int64)))
    torch.testing.assert_close(taught.softmax(1), expected, rtol=1e-4, atol=1e-5)


def test_an_ensemble_of_a_folder_that_is_gone_is_refused(sweep: SweepPaths, tmp_path: Path) -> None:
    folder = replace(sweep.combined.ensemble, root=tmp_path / "ensemble")
    write_ensemble(Ensemble(members=(EnsembleMember(folder="../gone", weight=1.0, temperature=1.0),)), folder)
    config = TrialConfig.model_validate({**SETTINGS, "train": {"teacher": str(folder.root)}})
    with pytest.raises(SpecError, match=r"`train\.teacher` must be the folder of a finished trial"):
        check_teacher(config, classes=("0",))

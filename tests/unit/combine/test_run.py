"""The whole of `sweeper combine`, on a sweep whose trials ran without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.combine import CombineRequest, combine, read_outcome
from sweeper.errors import ModelError
from sweeper.export import load_model
from sweeper.folder import write_folder
from sweeper.paths import CachePaths, SweepPaths
from sweeper.report import Source, report_of
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec, resolve
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime

pytestmark = pytest.mark.slow
SPEC = {
    "name": "pair",
    "data": {"source": "digits", "image_size": 32},
    "backbone": "test_efficientnet",
    "weights": "random",
    "train": {"epochs": 1, "batch_size": 64, "warmup_epochs": 0.2, "drop_path": 0.0},
    "augment": {"hflip": 0.0},
    "space": {"lr": {"log": [3e-3, 1e-2]}},
    "search": {"trials": 2, "sampler": "random"},
}


def swept(folder: Path, cache: CachePaths, *, trials: int) -> SweepPaths:
    """A finished sweep of so many trials."""
    spec = SweepSpec.model_validate(SPEC)
    paths = SweepPaths(folder / "pair")
    paths.root.mkdir()
    write_folder(paths, spec, source=None)
    ledger = open_ledger(spec, storage_url(spec, paths), create=True)
    for _ in range(trials):
        asked = ledger.ask()
        assert asked is not None
        config = resolve(spec, asked.params)
        for epoch in run_trial(config, paths.trial(asked.number), runtime=Runtime(device="cpu", cache=cache)):
            ledger.report(asked.number, epoch, is_last=True)
        ledger.complete(asked.number)
    return paths


def test_what_helps_is_kept_told_and_shown(tmp_path: Path) -> None:
    cache = CachePaths(tmp_path / "cache")
    paths = swept(tmp_path, cache, trials=2)
    outcome = combine(paths, CombineRequest(distil=True, device="cpu", cache=cache))
    assert read_outcome(paths) == outcome
    assert [one.kind for one in outcome.candidates] == ["soup", "ensemble", "distilled"]
    assert outcome.choosing + outcome.judging == 359
    for one in outcome.candidates:
        if one.value is None or one.single is None or one.interval is None:
            assert one.note
            continue
        assert one.kept == (one.value > one.single)
        assert one.interval[0] <= one.value - one.single <= one.interval[1]
        assert (one.folder is not None) == one.kept
        if one.kept and one.kind != "ensemble":
            assert len(load_model(paths.root / str(one.folder), device="cpu").classes) == 10
    assert report_of(Source.of(paths, cache)).combined.outcome == outcome


def test_one_trial_cannot_be_put_together(tmp_path: Path) -> None:
    cache = CachePaths(tmp_path / "cache")
    paths = swept(tmp_path, cache, trials=1)
    with pytest.raises(
        ModelError,
        match="^Models are put together of two or more trials whose weights and answers are in the sweep's folder, but "
        r"`pair` has 1\.$",
    ):
        combine(paths, CombineRequest(device="cpu", cache=cache))

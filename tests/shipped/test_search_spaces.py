"""Every shipped search space is right, and every point it can draw is a trial that makes sense."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from sweeper.backbones.catalog import look_up
from sweeper.backbones.families import find_names
from sweeper.paths import CachePaths, TrialPaths
from sweeper.planning.machine import Place
from sweeper.planning.make import PlanOptions, make_plan
from sweeper.search import open_ledger
from sweeper.spec import load_spec, resolve
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime
from sweeper.trial.setup import check_trial

FILES = sorted((Path(__file__).resolve().parents[2] / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_draws_points_that_resolve(file: Path, tmp_path: Path) -> None:
    spec = load_spec(file, ["search.trials=20", "search.sampler=random"])
    ledger = open_ledger(spec, f"sqlite:///{tmp_path}/study.db", create=True)
    configs = [resolve(spec, suggestion.params) for suggestion in iter(ledger.ask, None)]
    assert len(configs) == 20
    assert len({config.hash for config in configs}) == 20


def test_every_backbone_of_a_shipped_file_is_listed() -> None:
    listed = {look_up(name).name for name in find_names(None)}
    used = {look_up(name).name for file in FILES for name in load_spec(file, []).backbones}
    assert used <= listed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_says_in_its_first_lines_how_to_run_it(file: Path) -> None:
    head = "".join(file.read_text().splitlines(keepends=True)[:4])
    assert f"sweeper run search_spaces/{file.name}" in head


NAT = {"depths": [1, 1, 1, 1], "embed_dim": 16, "num_heads": [1, 2, 4, 8], "kernel_size": 3}
DAVIT = {"depths": [1, 1, 1, 1], "embed_dims": [16, 32, 48, 64], "num_heads": [1, 2, 3, 4]}
MAXVIT = {"depths": [1, 1, 1, 1], "embed_dim": [32, 32, 64, 64], "stem_width": 16}
VIT = {"depth": 4, "embed_dim": 48, "num_heads": 3}
SENET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32], "cardinality": 4, "base_width": 32}
METAFORMER = {"depths": [1, 1, 1, 1], "conv_dims": [8, 8, 16], "attn_dims": [16, 32], "num_heads": 2}


def made_small(args: Mapping[str, object], *, only: str | None = None) -> list[str]:
    """Returns what sets the arguments of the backbone, or of those in a sweep whose name matches `only`."""
    place = "backbone_args" if only is None else f"overrides.{only}.set.backbone_args"
    return [f"{place}.{name}={value}" for name, value in args.items()]


WITH_PROBE = ["space.probe.epochs={choice: [0, 1]}", "train.epochs=2"]
SHRUNK = {
    "nat.yaml": [*made_small(NAT), *WITH_PROBE],
    "dinat.yaml": [*made_small(NAT), *WITH_PROBE],
    "dinat_scratch.yaml": made_small(NAT),
    "davit.yaml": made_small(DAVIT),
    "long_tail.yaml": made_small(DAVIT),
    "maxvit.yaml": made_small(MAXVIT),
    "compare.yaml": [
        *made_small(NAT, only="*nat_mini*"), *made_small(DAVIT, only="davit*"), *made_small(MAXVIT, only="maxvit*"),
    ],
    "mae_vit_huge.yaml": [*made_small(VIT), "data.image_size=56"],
    "senet154_fixres.yaml": [*made_small(SENET), "train.fixres={epochs: 1, image_size: 96}", "train.epochs=2"],
    "efficientnet_b5_seb.yaml": ["backbone=test_efficientnet", "points=[]", "space.head.channels={choice: [8, 16]}"],
    "metaformer2.yaml": made_small(METAFORMER),
}  # fmt: skip
"""What makes the networks of the study and of the systems it cites small enough to train here."""


@pytest.mark.parametrize("name", SHRUNK)
def test_the_first_points_of_a_shipped_file_train(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = [f"{split}/{label}/{index}.png" for split in ("train", "val") for label in "ab" for index in range(4)]
    for key in keys:
        (tmp_path / "photos" / key).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / key), rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    lines = [f"{key},60.2,24.9,2017-09-{day:02d}" for day, key in enumerate(keys[:-1], start=1)]
    (tmp_path / "places.csv").write_text("\n".join(["image,latitude,longitude,date", *lines]) + "\n")
    small = [f"data.root={tmp_path}/photos", "data.image_size=64", "train.batch_size=4", "weights=random"]
    small += ["train.epochs=1", "train.accumulate=1", "train.warmup_epochs=0", f"data.metadata={tmp_path}/places.csv"]
    spec = load_spec(FILES[0].parent / name, [*small, *SHRUNK[name]])
    ledger = open_ledger(spec, f"sqlite:///{tmp_path}/study.db", create=True)
    runtime = Runtime(device="cpu", cache=CachePaths(tmp_path / "cache"))
    trained = []
    for _ in spec.backbones:
        suggestion = ledger.ask()
        assert suggestion is not None
        config = resolve(spec, suggestion.params)
        check_trial(config, classes=("a", "b"))
        history = list(run_trial(config, TrialPaths(tmp_path / config.hash), runtime=runtime))
        assert [metrics.epoch for metrics in history] == list(range(1, config.train.epochs + 1))
        trained.append(config.backbone)
    assert trained == list(spec.backbones)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_is_planned_without_its_images(file: Path, tmp_path: Path) -> None:
    small = ["weights=random", *SHRUNK.get(file.name, [])]
    if file.name in SHRUNK and "data.image_size=56" not in small:
        small.append("data.image_size=64")
    spec = load_spec(file, [*small, f"data.root={tmp_path}/nowhere"] if "quickstart" not in file.name else small)
    place = Place(device="cpu", title="CPU", threads=1, slots=1, gpus=0, memory_mb=65536, bf16=False)
    plan = make_plan(spec, place, CachePaths(tmp_path), PlanOptions(measure=False, draws=0))
    assert plan.problems == ()
    assert [one.backbone for one in plan.backbones] == list(spec.backbones)
    assert all(one.memory_mb > 0 and one.gflops > 0 for one in plan.backbones)
    assert plan.rungs[-1].trials <= plan.rungs[0].trials <= spec.search.trials
    assert plan.hours is None

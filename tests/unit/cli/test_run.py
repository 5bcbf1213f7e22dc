"""`sweeper run`: bad input gets one clear sentence and exit code 2 before anything is computed; good input runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
Sweeper = Callable[..., Any]


def of_folder(root: Path) -> tuple[str, ...]:
    return ("--set", f"data={{source: folder, root: {root}, image_size: 32}}")


def refused(sweeper: Sweeper, *arguments: str) -> str:
    answer = sweeper("run", "tiny.yaml", *arguments)
    assert answer.code == 2, answer.err
    assert not Path("sweeps/tiny/resolved.yaml").exists()
    return str(answer.err).strip()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("search.trails=3", "search.trails: unknown key `trails`; did you mean `trials`?"),
        ("train.epochs=many", "train.epochs: must be a valid integer, but got `many`."),
        (
            "space.lr.log=[1, 0.1]",
            "space.lr.log: a range needs low < high, but got [1.0, 0.1]; one value is `{fixed: 1.0}`.",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told(sweeper: Sweeper, override: str, sentence: str) -> None:
    assert refused(sweeper, "--set", override) == f"sweeper: --set {override}: {sentence}"


def test_an_unknown_backbone_is_told_with_the_nearest_names(sweeper: Sweeper) -> None:
    message = refused(sweeper, "--set", "backbone=davit_tinny")
    assert "`davit_tinny`" in message
    assert "`davit_tiny`" in message


def test_weights_that_cannot_be_had_are_told_with_the_ways_to_provide_them(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = refused(
        sweeper, "--set", "backbone=davit_tiny", "--set", "weights=pretrained", "--set", "data.image_size=64"
    )
    assert "davit_tiny.msft_in1k" in message
    assert "weights: random" in message


def test_a_missing_data_root_is_told(sweeper: Sweeper, tmp_path: Path) -> None:
    assert f"`{tmp_path / 'nowhere'}`" in refused(sweeper, *of_folder(tmp_path / "nowhere"))


def test_an_empty_class_folder_is_told(sweeper: Sweeper, photos: Path) -> None:
    (photos / "train" / "gill").mkdir()
    assert "gill" in refused(sweeper, *of_folder(photos))


def test_a_gpu_that_is_not_there_is_told_with_what_there_is(sweeper: Sweeper) -> None:
    message = refused(sweeper, "--set", "resources.gpus_per_trial=1")
    assert message.startswith("sweeper: Each trial asks for 1 GPU, but there is none free to give: this machine has ")


def test_a_folder_that_cannot_be_written_is_told(sweeper: Sweeper, tmp_path: Path) -> None:
    (tmp_path / "sweeps").write_text("a file is in the way")
    assert refused(sweeper) == (
        f"sweeper: The sweep's folder `{tmp_path}/sweeps/tiny` cannot be written (Not a directory); "
        "choose another with `--root`."
    )


def test_freezing_more_stages_than_there_are_is_told(sweeper: Sweeper) -> None:
    assert refused(sweeper, "--set", "space.freeze_depth={int: [0, 9]}") == (
        "sweeper: `freeze_depth` must be 0 to 5 for `test_efficientnet.r160_in1k`, whose stages are stem, stage1, stage2, "
        "stage3, stage4, head, but it is `9`."
    )


def test_an_unknown_optimizer_is_told(sweeper: Sweeper) -> None:
    assert "`adamw`" in refused(sweeper, "--set", "train.optimizer=adamww")


def test_a_sweep_runs_and_names_an_image_that_cannot_be_read(sweeper: Sweeper, photos: Path) -> None:
    (photos / "train" / "cap" / "broken.png").write_bytes(b"this is no picture")
    few = ("--set", "train.batch_size=4", "--set", "data.max_bad_fraction=0.1")
    answer = sweeper("run", "tiny.yaml", *of_folder(photos), *few, "--json")
    assert answer.code == 0, answer.err
    assert "Left out the image `train/cap/broken.png`: " in answer.err
    assert "trial 0  complete  best top-1" in answer.err
    assert json.loads(answer.out)["rows"][0]["number"] == 0
    assert refused_again(sweeper).startswith("sweeper: The sweep `tiny` exists already in ")
    assert "1 complete of 1 trials" in sweeper("status", "tiny").out
    assert "top-1" in sweeper("leaderboard", "tiny").out
    assert sweeper("resume", "tiny").code == 0


def refused_again(sweeper: Sweeper) -> str:
    answer = sweeper("run", "tiny.yaml")
    assert answer.code == 2
    return str(answer.err)


def test_a_sweep_whose_trials_all_fail_is_a_failure_that_explains_itself(sweeper: Sweeper) -> None:
    absurd = ("--set", "train={optimizer: sgd, warmup_epochs: 0, clip_grad: null}", "--set", "space.lr={fixed: 1.0e30}")
    answer = sweeper("run", "tiny.yaml", *absurd)
    assert answer.code == 1
    assert "No trial finished an epoch; `sweeper status tiny` says why." in answer.err
    status = sweeper("status", "tiny").out
    assert "1 failed of 1 trials" in status
    assert "finite" in status
    assert f"log: {Path('sweeps/tiny/trials/0000/trial.log').absolute()}\n" in status


def test_several_backbones_share_one_leaderboard(sweeper: Sweeper, photos: Path) -> None:
    Path("compare.yaml").write_text(
        "name: compare\n"
        f"data: {{source: folder, root: {photos}, image_size: 64}}\n"
        "weights: random\n"
        "train: {epochs: 1, batch_size: 4}\n"
        "tracking: {enabled: false}\n"
        "space:\n"
        "  backbone: {choice: [davit_tiny, maxvit_tiny_rw_224]}\n"
        "overrides:\n"
        "  'davit*': {set: {backbone_args.depths: [1, 1, 1, 1], backbone_args.embed_dims: [16, 32, 48, 64],\n"
        "    backbone_args.num_heads: [1, 2, 3, 4]}}\n"
        "  'maxvit*': {set: {backbone_args.depths: [1, 1, 1, 1], backbone_args.embed_dim: [32, 32, 64, 64],\n"
        "    backbone_args.stem_width: 16}}\n"
        "search: {trials: 2, sampler: grid}\n"
    )
    answer = sweeper("run", "compare.yaml", "--json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)["rows"]
    assert {row["params"]["backbone"] for row in rows} == {"davit_tiny", "maxvit_tiny_rw_224"}

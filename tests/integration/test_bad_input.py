"""Bad input gets one clear sentence and exit code 2, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of a few small pictures, in `train/` and `val/`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for label in ("cap", "stem"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))
    return tmp_path / "photos"


def folder_spec(root: Path) -> tuple[str, ...]:
    return ("--set", f"data={{source: folder, root: {root}, image_size: 32, split_seed: 0}}")


def refused(sweeper: Any, *arguments: str) -> str:
    done = sweeper.run("run", "tiny.yaml", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not (sweeper.folder / "sweeps/tiny/resolved.yaml").exists()
    return str(done.stderr).splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "search.trails=3",
            "sweeper: --set search.trails=3: search.trails: unknown key `trails`; did you mean `trials`?",
        ),
        (
            "train.epochs=many",
            "sweeper: --set train.epochs=many: train.epochs: must be a valid integer, but got `many`.",
        ),
        (
            "space.lr.log=[1, 0.1]",
            "sweeper: --set space.lr.log=[1, 0.1]: space.lr.log: a range needs low < high, but got [1.0, 0.1]; "
            "one value is `{fixed: 1.0}`.",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told(sweeper: Any, override: str, sentence: str) -> None:
    assert refused(sweeper, "--set", override) == sentence


def test_an_unknown_backbone_is_told_with_the_nearest_names(sweeper: Any) -> None:
    assert "`davit_tinny`" in (message := refused(sweeper, "--set", "backbone=davit_tinny"))
    assert "`davit_tiny`" in message


def test_weights_that_cannot_be_had_are_told_with_the_ways_to_provide_them(
    sweeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = sweeper.run("run", "tiny.yaml", "--set", "backbone=davit_tiny", "--set", "weights=pretrained")
    assert done.returncode == 2
    assert "weights: random" in done.stderr
    assert "davit_tiny.msft_in1k" in done.stderr


def test_a_missing_data_root_is_told(sweeper: Any, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refused(sweeper, *folder_spec(tmp_path / "nowhere"))


def test_an_empty_class_folder_is_told(sweeper: Any, photos: Path) -> None:
    (photos / "train" / "gill").mkdir()
    assert "`gill`" in refused(sweeper, *folder_spec(photos))


def test_a_gpu_that_is_not_there_is_told_with_what_there_is(sweeper: Any) -> None:
    message = refused(sweeper, "--set", "resources.gpus_per_trial=1")
    assert message.startswith("sweeper: Each trial asks for 1 GPU, but there is none free to give: this machine has ")


def test_a_folder_that_cannot_be_written_is_told(sweeper: Any) -> None:
    (sweeper.folder / "sweeps").write_text("a file is in the way")
    assert refused(sweeper).endswith("cannot be written (Not a directory); choose another with `--root`.")


def test_freezing_more_stages_than_there_are_is_told(sweeper: Any) -> None:
    message = refused(sweeper, "--set", "space.freeze_depth={int: [0, 9]}")
    assert message == (
        "sweeper: `freeze_depth` must be 0 to 5 for `test_efficientnet`, whose stages are stem, stage1, stage2, stage3, "
        "stage4, head, but it is `9`."
    )


def test_an_image_that_cannot_be_read_is_named_and_the_sweep_goes_on(sweeper: Any, photos: Path) -> None:
    (photos / "train" / "cap" / "broken.png").write_bytes(b"this is no picture")
    arguments = ("--set", "search.trials=1", "--set", "train={epochs: 1, batch_size: 4}", "--set", "augment={}")
    done = sweeper.run("run", "tiny.yaml", *folder_spec(photos), "--set", "data.max_bad_fraction=0.1", *arguments)
    assert done.returncode == 0, done.stderr
    assert "Left out the image `train/cap/broken.png`: " in done.stderr
    info = sweeper.run("data", "info", str(photos))
    assert "Cannot read `train/cap/broken.png`: " in info.stdout

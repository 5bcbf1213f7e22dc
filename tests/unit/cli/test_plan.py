"""`sweeper plan`, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Sweeper = Callable[..., Any]
TINY = """\
name: tiny
data: {source: digits, image_size: 32}
backbone: test_efficientnet
weights: random
train: {epochs: 3, batch_size: 64}
space: {lr: {log: [1.0e-3, 1.0e-2]}, freeze_depth: {int: [0, 1]}}
search: {trials: 9, sampler: random, stop: {asha: {grace_epochs: 1, reduction: 3}}}
"""


@pytest.fixture
def sweeper(sweeper: Sweeper) -> Sweeper:
    """In a folder whose `tiny.yaml` has nine trials."""
    Path("tiny.yaml").write_text(TINY)
    return sweeper


def test_a_plan_is_a_table_and_a_few_sentences_and_starts_no_ray(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    script = (
        "import sys; sys.argv[0] = 'sweeper'\n"
        "from sweeper.cli.main import main\n"
        "try: main()\n"
        "finally: print('ray' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, "plan", "tiny.yaml", "--no-measure"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "False\n"
    assert "Sweep `tiny`: 9 trials on CPU" in done.stdout
    assert "Trials:     9 to epoch 1, 3 to epoch 3; 16 epochs in all." in done.stdout
    assert "test_efficientnet" in done.stdout


def test_points_that_cannot_run_are_exit_code_2_and_one_sentence_each(sweeper: Sweeper) -> None:
    done = sweeper("plan", "tiny.yaml", "--no-measure", "--json", "--set", "space.freeze_depth={int: [4, 6]}")
    assert done.code == 2
    sentence = (
        "`test_efficientnet` with freeze_depth=6: `freeze_depth` must be 0 to 5 for `test_efficientnet.r160_in1k`, whose "
        "stages are stem, stage1, stage2, stage3, stage4, head, but it is `6`."
    )
    assert done.err.splitlines()[0] == f"sweeper: {sentence}"
    assert json.loads(done.out)["problems"] == [sentence]


def test_a_name_that_is_neither_a_file_nor_a_sweep_is_told(sweeper: Sweeper, tmp_path: Path) -> None:
    done = sweeper("plan", "tyni")
    assert done.code == 2
    assert done.err.splitlines()[0] == f"sweeper: There is no sweep `tyni` in `{tmp_path}/sweeps`."


def test_the_plan_as_json_says_what_the_search_would_start_from(sweeper: Sweeper) -> None:
    done = sweeper("plan", "tiny.yaml", "--no-measure", "--json", "--set", "backbone=convnext_atto", "--set", "weights=pretrained")  # fmt: skip
    assert json.loads(done.out)["start"] == ["The prior of ConvNeXt, with 1 first point."], done.err
    purist = sweeper("plan", "tiny.yaml", "--no-measure", "--json", "--no-prior")
    assert json.loads(purist.out)["start"] == []

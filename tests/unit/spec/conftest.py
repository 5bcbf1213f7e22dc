"""A valid search space file to break in one place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.errors import SpecError
from sweeper.spec import SweepSpec, load_spec

TEXT = """\
name: davit-fungi
data: {source: folder, root: /photos, image_size: 224}
backbone: davit_tiny.msft_in1k
train: {epochs: 30, batch_size: 64, precision: bf16}
space:
  lr:          {log: [3e-5, 1.0e-3]}
  layer_decay: {uniform: [0.6, 1.0]}
  freeze_depth: {int: [0, 4]}
  augment.policy: {choice: [none, 3a, rand-m9, trivial]}
  augment.mixup:  {uniform: [0.0, 0.8], when: {augment.policy: [3a, rand-m9]}}
search: {trials: 64, sampler: tpe, stop: {asha: {grace_epochs: 2, reduction: 3}}, objective: top1}
resources: {gpus_per_trial: 0.5}
tracking: {experiment: fungi}
"""

Load = Callable[..., SweepSpec]
Refusal = Callable[..., str]


@pytest.fixture
def text() -> str:
    """The valid file."""
    return TEXT


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the valid file with one part replaced, and overrides applied."""

    def _load(old: str = "", new: str = "", *overrides: str) -> SweepSpec:
        assert old in TEXT
        path = tmp_path / "space.yaml"
        path.write_text(TEXT.replace(old, new, 1) if old else TEXT)
        return load_spec(path, overrides)

    return _load


@pytest.fixture
def refusal(load: Load, tmp_path: Path) -> Refusal:
    """Returns the message with which a broken file is refused, its folder left out."""

    def _refusal(old: str = "", new: str = "", *overrides: str) -> str:
        with pytest.raises(SpecError) as caught:
            load(old, new, *overrides)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return _refusal

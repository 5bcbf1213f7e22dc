"""Every shipped search space is right, and every point it can draw is a trial that makes sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.search import open_ledger
from sweeper.spec import load_spec, resolve

FILES = sorted((Path(__file__).resolve().parents[2] / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_draws_points_that_resolve(file: Path, tmp_path: Path) -> None:
    spec = load_spec(file, ["search.trials=20", "search.sampler=random"])
    ledger = open_ledger(spec, f"sqlite:///{tmp_path}/study.db", create=True)
    configs = [resolve(spec, suggestion.params) for suggestion in iter(ledger.ask, None)]
    assert len(configs) == 20
    assert len({config.hash for config in configs}) == 20


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_says_in_its_first_lines_how_to_run_it(file: Path) -> None:
    head = "".join(file.read_text().splitlines(keepends=True)[:4])
    assert f"sweeper run search_spaces/{file.name}" in head

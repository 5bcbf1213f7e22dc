"""A sweep's folder after an edit: the spec as it is, and what it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from sweeper.driver.attempts import Sweep
from sweeper.driver.edit import SweepEdit, apply_edit, spec_after
from sweeper.driver.observer import SweepObserver
from sweeper.errors import InputError, SpecError
from sweeper.folder import read_spec, write_folder
from sweeper.records import Failure
from sweeper.search import open_ledger, storage_url

MakeSweep = Callable[..., Sweep]


class Notes(SweepObserver):
    """Keeps the sentences."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def begun(make_sweep: MakeSweep) -> Sweep:
    """A sweep of which trial 0 failed and trial 1 waits for its driver."""
    sweep = make_sweep(search={"trials": 2, "sampler": "random"})
    write_folder(sweep.paths, sweep.spec, source=None)
    sweep.ledger.ask()
    sweep.ledger.ask()
    sweep.ledger.fail(0, Failure(reason="no luck"))
    return sweep


def test_an_edit_changes_the_spec_and_leaves_a_line_of_what_it_was(make_sweep: MakeSweep) -> None:
    sweep = begun(make_sweep)
    sweep.paths.trial(0).root.mkdir(parents=True)
    sweep.paths.trial(0).checkpoint.write_bytes(b"state")
    edit = SweepEdit(assignments=("search.trials=+3", "train.epochs=5"), again=("0",))
    now, notes = spec_after(sweep.spec, sweep.paths, edit), Notes()
    apply_edit(sweep.spec, now, sweep.paths, edit, notes)
    kept = read_spec(sweep.paths)
    assert kept == now
    assert (kept.search.trials, kept.train.epochs) == (6, 5)
    (line,) = (json.loads(text) for text in sweep.paths.edits.read_text().splitlines())
    assert line["changes"] == [
        {"key": "train.epochs", "was": 2, "now": 5},
        {"key": "search.trials", "was": 2, "now": 6},
    ]
    assert (line["trials"], line["again"]) == (2, {"0": 2})
    assert re.match(r"\d{4}-\d\d-\d\dT", line["time"])
    assert notes.lines == [
        "edited: `train.epochs` was `2`, is `5`",
        "edited: `search.trials` was `2`, is `6`",
        "trial 0 runs again, as trial 2",
    ]
    assert sweep.paths.trial(2).checkpoint.read_bytes() == b"state"
    ledger = open_ledger(now, storage_url(now, sweep.paths), create=False)
    assert [record.params.get("epochs") for record in ledger.records()] == [2, 2, None]


def test_what_cannot_be_is_refused_before_anything_changes(make_sweep: MakeSweep) -> None:
    sweep = begun(make_sweep)
    with pytest.raises(SpecError, match=r"^`search\.objective` cannot change in a sweep that has begun"):
        spec_after(sweep.spec, sweep.paths, SweepEdit(assignments=("search.objective=macro_f1",)))
    with pytest.raises(InputError) as caught:
        spec_after(sweep.spec, sweep.paths, SweepEdit(again=("1",)))
    assert str(caught.value) == (
        "`--again` takes the number of a finished trial, or `best:8` for the best eight, but got `1`; the trials that "
        "were begun: 0, 1."
    )
    assert not sweep.paths.edits.exists()
    assert read_spec(sweep.paths) == sweep.spec
    assert not SweepEdit()
    assert replace(SweepEdit(), again=("0",))

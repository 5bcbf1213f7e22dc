"""Log files, as text for people and as JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import socket
from datetime import datetime
from pathlib import Path

import pytest

from sweeper.errors import InputError
from sweeper.logs import log_handler


def write(path: Path) -> None:
    """Logs a line and a failure, as a worker does for trial 7."""
    logger = logging.Logger("sweeper.trial.run")
    handler = log_handler(path, sweep="davit", trial=7, attempt=2)
    logger.addHandler(handler)
    logger.info("Epoch %d: ümlaut.\nSecond line.", 3)
    try:
        raise ValueError("no luck")
    except ValueError:
        logger.exception("The trial failed.")
    handler.close()


def test_text_is_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPER_LOG_FORMAT", raising=False)
    write(tmp_path / "trial.log")
    first, *_, last = (tmp_path / "trial.log").read_text(encoding="utf-8").splitlines()
    assert first.endswith(" INFO sweeper.trial.run: Epoch 3: ümlaut.")
    assert last == "ValueError: no luck"


def test_json_is_an_object_a_line_that_says_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_LOG_FORMAT", "json")
    write(tmp_path / "trial.log")
    epoch, failure = map(json.loads, (tmp_path / "trial.log").read_text(encoding="utf-8").splitlines())
    assert datetime.fromisoformat(epoch.pop("time")).utcoffset() is not None
    assert epoch == {
        "level": "INFO", "logger": "sweeper.trial.run", "message": "Epoch 3: ümlaut.\nSecond line.",
        "host": socket.gethostname(), "pid": os.getpid(), "sweep": "davit", "trial": 7, "attempt": 2,
    }  # fmt: skip
    assert failure["traceback"].endswith("ValueError: no luck")


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_LOG_FORMAT", "xml")
    with pytest.raises(InputError, match="`SWEEPER_LOG_FORMAT` must be `text` or `json`, but is `xml`"):
        log_handler(tmp_path / "trial.log")

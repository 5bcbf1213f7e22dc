"""How log lines are written: as text for people, or as JSON for what collects them (`SWEEPER_LOG_FORMAT=json`)."""

from __future__ import annotations

import json
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, final

from sweeper.errors import InputError

VARIABLE: Final = "SWEEPER_LOG_FORMAT"
_FORMATS: Final = ("text", "json")


def log_handler(path: Path | None, **about: str | int) -> logging.Handler:
    """Returns a handler that appends to a file, or writes to standard error.

    Args:
        path: the file; None is standard error.
        about: what all its lines are of, as `trial=7`; JSON lines have it as further keys.

    Raises:
        InputError: the format that is asked for is none.
    """
    handler: logging.Handler = logging.StreamHandler() if path is None else logging.FileHandler(path)
    handler.setFormatter(_Lines(about) if _format() == "json" else _text(about))
    return handler


def _format() -> str:
    asked = os.environ.get(VARIABLE) or "text"
    if asked not in _FORMATS:
        raise InputError(f"`{VARIABLE}` must be `text` or `json`, but is `{asked}`.")
    return asked


def _text(about: dict[str, str | int]) -> logging.Formatter:
    process = f" process {about['process']}" if "process" in about else ""
    return logging.Formatter(f"%(asctime)s %(levelname)s %(name)s{process}: %(message)s")


@final
class _Lines(logging.Formatter):
    """A JSON object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, `host`, `pid`, any `traceback`."""

    def __init__(self, about: dict[str, str | int]) -> None:
        super().__init__()
        self._about = about
        self._host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, whatever line breaks are in the message."""
        line: dict[str, str | int | None] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "host": self._host,
            "pid": record.process,
            **self._about,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)

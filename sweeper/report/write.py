"""The page as a file."""

from __future__ import annotations

from pathlib import Path

from sweeper.errors import SweepFolderError
from sweeper.paths import written_aside
from sweeper.report.render import render
from sweeper.report.report import Report


def write_report(report: Report, path: Path) -> str:
    """Writes the page to `path` and returns it.

    Raises:
        SweepFolderError: the file cannot be written.
    """
    page = render(report)
    try:
        with written_aside(path) as aside:
            aside.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SweepFolderError(
            f"The report cannot be written to `{path}` ({error.strerror or error}); choose another file with `--out`."
        ) from error
    return page

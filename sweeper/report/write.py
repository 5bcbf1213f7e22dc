"""The page as a file, in the sweep's folder and in MLflow."""

from __future__ import annotations

from pathlib import Path

from sweeper.errors import SweepFolderError
from sweeper.paths import Workspace, written_aside
from sweeper.report.render import render
from sweeper.report.report import Report
from sweeper.report.source import Source
from sweeper.tracking import attach


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


def attach_report(source: Source, page: str) -> None:
    """Makes the page an artifact of the sweep's run in MLflow, where the sweep is tracked.

    Raises:
        TrackingError: MLflow is away, does not know the sweep, or does not take the page.
    """
    workspace = Workspace(source.paths.root.parent)
    attach(source.spec, workspace, sweep_id=source.sweep_id, name=source.paths.report.name, text=page)

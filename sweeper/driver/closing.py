"""The report that a finished sweep leaves in its folder and in MLflow."""

from __future__ import annotations

import logging
from pathlib import Path

from sweeper.driver.observer import SweepObserver
from sweeper.errors import TrackingError
from sweeper.paths import CachePaths, SweepPaths
from sweeper.report import Source, attach_report, report_of, write_report

_LOG = logging.getLogger(__name__)


def leave_report(paths: SweepPaths, cache: CachePaths, observer: SweepObserver) -> Path | None:
    """Writes the report of a sweep that is over; None where it could not be made, which is told and fails nothing.

    Args:
        paths: of the sweep.
        cache: where decoded images lie.
        observer: hears of what went wrong.
    """
    try:
        source = Source.of(paths, cache, alive=False)
        page = write_report(report_of(source), paths.report)
    except Exception as error:  # noqa: BLE001  (hours of training are safe; a page about them must not say otherwise)
        _LOG.exception("The report could not be made.")
        observer.note(f"The report could not be made ({error}); `sweeper report {paths.root.name}` tries again.")
        return None
    try:
        attach_report(source, page)
    except TrackingError as error:
        observer.note(f"MLflow has not got the report: {error}")
    return paths.report

"""A sweep as a page: one value made from ledger and folder, one HTML file made from the value.

Read in this order: `source` (what a report is made from), `report` (its sections, a file each), `render`, `charts/`.
"""

from sweeper.report.report import Report, report_of
from sweeper.report.source import Source
from sweeper.report.write import attach_report, write_report

__all__ = ["Report", "Source", "attach_report", "report_of", "write_report"]

"""A sweep as one value: every section of its report, pure data."""

from __future__ import annotations

import time
from importlib.metadata import version

from sweeper.report.answer import Answer, answer_of
from sweeper.report.augmentation import Augmentation, augmentation_of
from sweeper.report.backbones import Backbones, backbones_of
from sweeper.report.classes import Classes, classes_of
from sweeper.report.combined import Combined, combined_of
from sweeper.report.confusion import Confusion, confusion_of
from sweeper.report.curves import Curves, curves_of
from sweeper.report.failures import Failures, failures_of
from sweeper.report.reproduce import Reproduce, reproduce_of
from sweeper.report.section import Value
from sweeper.report.source import Source
from sweeper.report.space import Space, space_of
from sweeper.report.spending import Spending, spending_of
from sweeper.report.tradeoff import Tradeoff, tradeoff_of
from sweeper.results import Leaderboard


class Report(Value):
    """All of a report, in the order of the page."""

    name: str
    """Of the sweep."""
    written: float
    """Seconds since the Unix epoch."""
    version: str
    """Of sweeper."""
    answer: Answer
    backbones: Backbones
    board: Leaderboard
    tradeoff: Tradeoff
    curves: Curves
    space: Space
    classes: Classes
    confusion: Confusion
    combined: Combined
    augmentation: Augmentation
    spending: Spending
    failures: Failures
    reproduce: Reproduce


def report_of(source: Source) -> Report:
    """Returns the report of a sweep as it is now; each section says in a sentence when it has nothing to show."""
    return Report(
        name=source.spec.name,
        written=time.time(),
        version=version("sweeper"),
        answer=answer_of(source),
        backbones=backbones_of(source),
        board=source.board,
        tradeoff=tradeoff_of(source),
        curves=curves_of(source),
        space=space_of(source),
        classes=classes_of(source),
        confusion=confusion_of(source),
        combined=combined_of(source),
        augmentation=augmentation_of(source),
        spending=spending_of(source),
        failures=failures_of(source),
        reproduce=reproduce_of(source),
    )

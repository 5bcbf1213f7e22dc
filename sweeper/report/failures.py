"""What failed and why, and what was mended on the way."""

from __future__ import annotations

from sweeper.records import Failure, TrialRecord, TrialState
from sweeper.report.section import Section, Value
from sweeper.report.source import Source
from sweeper.report.words import counted


class FailureGroup(Value):
    """Trials that failed for the same reason."""

    reason: str
    trials: tuple[int, ...]
    log: str
    """The log file of the first of them."""
    traceback: str
    """Of the first of them; empty where its worker died without one."""


class Failures(Section):
    """All that went wrong."""

    groups: tuple[FailureGroup, ...] = ()
    """The most frequent first."""
    mended: tuple[str, ...] = ()
    """A sentence on each kind of trouble that the sweep got over."""


def failures_of(source: Source) -> Failures:
    """Returns the failed trials by their reason."""
    failed: dict[str, list[TrialRecord]] = {}
    for record in source.records:
        if record.state is TrialState.FAILED:
            failed.setdefault(_why(record).reason, []).append(record)
    groups = [_group(source, reason, records) for reason, records in failed.items()]
    mended = tuple(_mended(source))
    nothing = "" if groups or mended else "No trial failed, none was interrupted, and every image could be read."
    return Failures(groups=tuple(sorted(groups, key=lambda group: -len(group.trials))), mended=mended, nothing=nothing)


def _why(record: TrialRecord) -> Failure:
    return record.failure or Failure(reason="no reason was noted")


def _group(source: Source, reason: str, records: list[TrialRecord]) -> FailureGroup:
    first = records[0]
    return FailureGroup(
        reason=reason,
        trials=tuple(record.number for record in records),
        log=str(source.paths.trial(first.number).log),
        traceback=_why(first).traceback,
    )


def _mended(source: Source) -> list[str]:
    again = [record.number for record in source.records if record.attempts > 1]
    sentences = []
    if again:
        shown = ", ".join(map(str, again[:20])) + (", ..." if len(again) > 20 else "")
        count = counted(len(again), "trial was", "trials were")
        sentences.append(f"{count} interrupted and taken up again from the last finished epoch: {shown}.")
    if source.prepared and source.prepared.quarantined:
        count = counted(source.prepared.quarantined, "image", "images")
        sentences.append(f"{count} could not be read and took no part.")
    return sentences

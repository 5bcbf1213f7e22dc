"""Backbones side by side, with the study's figures where the images are the study's."""

from __future__ import annotations

from statistics import fmean
from typing import Final

from pydantic import Field

from sweeper.records import EpochMetrics, TrialRecord
from sweeper.report.section import Section, Value
from sweeper.report.source import Source
from sweeper.spec import SweepSpec
from sweeper.spec.data import INaturalistData

STUDY: Final[dict[str, tuple[float, ...]]] = {
    "NAT": (0.7528, 0.7732),
    "MaxViT": (0.7856,),
    "DaViT": (0.8093,),
    "DiNAT, light, from scratch": (0.2735,),
}
"""Top-1 that the study reports on the fungi subset of iNaturalist 2017, 121 species, by backbone."""
_STUDY_ROWS: Final = (("nat", "NAT"), ("maxvit", "MaxViT"), ("davit", "DaViT"))
"""The study's rows by how the names of fine-tuned backbones begin."""
_STUDYS_SCRATCH: Final = ("dinat", "DiNAT, light, from scratch")


class BackboneRow(Value):
    """The trials of one backbone."""

    backbone: str
    trials: int
    """That finished an epoch."""
    best: EpochMetrics
    """The best epoch of its best trial."""
    best_trial: int
    epochs: int
    """Of all its trials."""
    seconds: float
    """Of training and evaluation, all its trials."""
    images_per_second: float
    """In training, mean over its epochs."""
    study: tuple[float, ...] = ()
    """What the study reports of it; empty where it has other images or another backbone."""


class Backbones(Section):
    """All backbones that were tried, the best first."""

    rows: tuple[BackboneRow, ...] = ()
    study: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """All of the study's figures; empty where the images are others."""
    given_up: tuple[str, ...] = ()
    """A sentence on each backbone that the search gave up."""


def backbones_of(source: Source) -> Backbones:
    """Returns the comparison, by each backbone's best trial."""
    is_study = has_studys_images(source.spec)
    by_backbone: dict[str, list[TrialRecord]] = {}
    for record in source.records:
        if source.best(record) is not None:
            by_backbone.setdefault(source.backbone_of(record), []).append(record)
    if not by_backbone:
        return Backbones(nothing="No backbone has a trial with a finished epoch.")
    place = {row.number: at for at, row in enumerate(source.board.rows)}
    rows = [_row(source, name, records, is_study=is_study) for name, records in by_backbone.items()]
    return Backbones(
        rows=tuple(sorted(rows, key=lambda row: place[row.best_trial])),
        study=STUDY if is_study else {},
        given_up=tuple(one.sentence for one in source.given_up),
    )


def has_studys_images(spec: SweepSpec) -> bool:
    """Whether a sweep runs on the fungi of iNaturalist 2017."""
    data = spec.data
    return isinstance(data, INaturalistData) and data.source == "inat2017" and data.supercategories == ("Fungi",)


def _row(source: Source, name: str, records: list[TrialRecord], *, is_study: bool) -> BackboneRow:
    numbers = {record.number for record in records}
    first = next(row for row in source.board.rows if row.number in numbers)
    epochs = [epoch for record in records for epoch in record.epochs]
    return BackboneRow(
        backbone=name,
        trials=len(records),
        best=first.best,
        best_trial=first.number,
        epochs=len(epochs),
        seconds=sum(record.seconds for record in records),
        images_per_second=fmean(epoch.images_per_second for epoch in epochs),
        study=_studys(name, from_scratch=source.spec.weights == "random") if is_study else (),
    )


def _studys(backbone: str, *, from_scratch: bool) -> tuple[float, ...]:
    rows = (_STUDYS_SCRATCH,) if from_scratch else _STUDY_ROWS
    return next((STUDY[row] for start, row in rows if backbone.startswith(start)), ())

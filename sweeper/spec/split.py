"""The `data.split:` section: which images train, which judge, and which nobody sees before the end."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from sweeper.spec.model import Section

SplitBy = Literal["auto", "official", "stratified", "group", "location"]


class SplitSpec(Section):
    """How images are split; all trials of a sweep share it, so none of it can be searched."""

    by: SplitBy = "auto"
    """`official` keeps the source's own split, `stratified` draws each class by itself, `group` keeps the images of
    one group (an observer, a specimen) together, `location` those of one cell of a map. `auto` is the first that can
    be had of `official` (not with `folds`), `group` and `stratified`."""
    val: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of each class that becomes the validation split, where that is drawn; `folds` takes its place."""
    test: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each class that is held out as a test, which no trial sees, where the source has no test of its own;
    beside an official validation split it is taken from that."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Draw this many validation splits; each image but the test's is in exactly one of them."""
    fold: int = Field(default=0, ge=0)
    """Which of the `folds` validates in this sweep, from 0."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the draw."""
    cell: float = Field(default=0.1, gt=0.0, le=90.0)
    """Side of the cells of `by: location`, in degrees; a tenth of a degree of latitude is 11 km."""
    duplicates: Literal["report", "drop", "ignore"] = "report"
    """What becomes of training images that are, exactly or nearly, among the validation or test images as well:
    `report` counts them, `drop` leaves them out of the training, `ignore` does not look for them."""

    @model_validator(mode="after")
    def agrees(self) -> Self:
        """Settings that contradict each other would be silently ignored otherwise."""
        if self.fold >= (self.folds or 1):
            raise ValueError(f"`fold` needs to be below `folds`, but got `fold` {self.fold} of {self.folds or 1}")
        if self.folds is not None and self.by == "official":
            raise ValueError("`by: official` keeps the source's split, but got `folds` as well")
        if self.val + self.test >= 1.0:
            raise ValueError(f"`val` and `test` need to leave images to train on, but got {self.val} and {self.test}")
        return self

"""What was made of a sweep's models together, and whether it helped."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.paths import SweepPaths, written_aside


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Candidate(_Value):
    """A soup, an ensemble or a distilled model, beside the best single trial."""

    kind: str
    """`soup`, `ensemble` or `distilled`."""
    trials: tuple[int, ...] = ()
    """Whose models are in it; one stands twice in an ensemble where it counts twice."""
    single: float | None = None
    """The metric of the best single trial on the images that judge."""
    value: float | None = None
    """Its own metric on them."""
    interval: tuple[float, float] | None = None
    """Of `value - single`, 95 %, by bootstrap over those images, paired."""
    latency: float | None = None
    """Times the latency of one model."""
    parameters: float | None = None
    """Times the parameters of one model."""
    kept: bool = False
    """Whether it is better on the images that judge, and so stays."""
    folder: str | None = None
    """Where it lies, below the sweep's folder; None where it was not kept."""
    note: str = ""
    """Why there is none, or what else is worth knowing."""


class CombineOutcome(_Value):
    """The contents of `combined.json`."""

    metric: str
    """One of `METRICS`, by which all was chosen and judged."""
    choosing: int
    """Validation images that chose."""
    judging: int
    """The other validation images."""
    best: int
    """The best single trial."""
    candidates: tuple[Candidate, ...]


def write_outcome(outcome: CombineOutcome, paths: SweepPaths) -> None:
    """Keeps it in the sweep's folder."""
    with written_aside(paths.combined.result) as aside:
        aside.write_text(outcome.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_outcome(paths: SweepPaths) -> CombineOutcome | None:
    """Returns what was made of a sweep's models; None where nobody has asked, or the file cannot be read."""
    try:
        return CombineOutcome.model_validate_json(paths.combined.result.read_bytes())
    except (OSError, ValidationError):
        return None

"""Several finished models as one: the folder that names them, their weights and temperatures."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweeper.errors import ModelError
from sweeper.paths import EnsemblePaths, written_aside


class EnsembleMember(BaseModel):
    """One model of an ensemble."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: str = Field(min_length=1)
    """Of a finished trial or of an exported model, relative to the ensemble's own folder."""
    weight: float = Field(gt=0)
    """Of its probabilities in the mean; the weights of all members add up to 1."""
    temperature: float = Field(gt=0)
    """Its logits are divided by it first."""


class Ensemble(BaseModel):
    """The contents of `ensemble.json`: the members' calibrated probabilities are averaged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    members: tuple[EnsembleMember, ...] = Field(min_length=1)


def write_ensemble(ensemble: Ensemble, paths: EnsemblePaths) -> None:
    """Writes an ensemble's folder."""
    with written_aside(paths.members) as aside:
        aside.write_text(ensemble.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_ensemble(folder: Path) -> Ensemble | None:
    """Returns the ensemble in a folder; None where the folder holds none.

    Raises:
        ModelError: its file cannot be read.
    """
    path = EnsemblePaths(folder).members
    if not path.is_file():
        return None
    try:
        return Ensemble.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"`{path}` must name the members of an ensemble, but cannot be read ({reason}).") from error

"""What the stop rule thinks of an epoch, with what it wants to remember of it, as one value to write down."""

from __future__ import annotations

import copy
from typing import Any, cast

from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict


class Verdict(BaseModel):
    """A stop rule's answer at one epoch of a trial.

    Optuna's successive halving notes the rung in the storage when it is asked, so it can be asked only once. Notes and
    answer are therefore written together: after a kill between two writes the notes are written again and the
    answer is given again, and the rule is not asked.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    stops: bool
    notes: dict[str, float]
    """What the rule remembers of the trial, by Optuna's names."""


def verdict_at(epoch: int, written: dict[str, Any] | None) -> Verdict | None:
    """Returns a trial's last verdict, as it was written down, if it is the one on `epoch`."""
    return Verdict.model_validate(written) if written and written["epoch"] == epoch else None


def ask_rule(study: Study, trial: FrozenTrial) -> tuple[bool, dict[str, float]]:
    """Asks the study's stop rule about the last epoch of a trial, without writing anything.

    Returns:
        Whether the trial ends, and what the rule would have noted.
    """
    notes = _Notes(study._storage)
    asked = copy.copy(study)
    asked._storage = cast("BaseStorage", notes)
    return asked.pruner.prune(asked, trial), notes.kept


class _Notes:
    """A storage that is read through, and keeps what a rule writes to itself."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self.kept: dict[str, float] = {}

    def set_trial_system_attr(self, _trial_id: int, key: str, value: float) -> None:
        """Keeps a note."""
        self.kept[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

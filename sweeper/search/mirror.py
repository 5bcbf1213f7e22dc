"""The study's trials as they are in the database, in the memory of the one process that writes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

_FINAL: Final = tuple(state for state in OptunaState if state.is_finished())


class Mirror:
    """A storage that reads a study's trials once, and then follows its own writes.

    Optuna's own cache reads every unfinished trial anew at each look, because another process may have changed it. A
    sweep has one driver, which holds its lock: what it did not write is as it was. So a look costs no query, and a
    write costs the same for the first trial and the ten-thousandth.

    Each write goes to the database before it shows here. One that raises an error may have arrived all the same:
    then all is read anew. A trial that was handed out stays what it was, as a write puts another in its place; while
    two looks give the same object, nothing was written between them.

    What is not about the study's trials is asked of the storage behind.
    """

    def __init__(self, storage: BaseStorage, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        self._trials: dict[int, FrozenTrial] | None = None
        """By id, which is by number; None while nothing is known."""
        self._unfinished: set[int] = set()
        self._stale: set[int] = set()
        """Trials that are to be read anew."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        """Returns the trials by number."""
        assert study_id == self._study_id
        known = self._known()
        if states is None:
            found = list(known.values())
        else:
            ids = known if any(state in states for state in _FINAL) else sorted(self._unfinished)
            found = [known[trial_id] for trial_id in ids if known[trial_id].state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Returns a trial, not to be changed."""
        return self._known()[trial_id]

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Makes a trial and returns its id."""
        self._known()
        with self._forgetting_on_error():
            trial_id = self._storage.create_new_trial(study_id, template_trial)
        self._stale.add(trial_id)
        return trial_id

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """Writes a parameter's value, as the database has it."""
        with self._forgetting_on_error():
            self._storage.set_trial_param(trial_id, name, value, distribution)
        self._stale.add(trial_id)

    def set_trial_state_values(self, trial_id: int, state: OptunaState, values: Sequence[float] | None = None) -> bool:
        """Writes a state; the database says since when."""
        with self._forgetting_on_error():
            done = self._storage.set_trial_state_values(trial_id, state, values)
        self._stale.add(trial_id)
        return done

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        """Writes an epoch's objective."""
        with self._forgetting_on_error():
            self._storage.set_trial_intermediate_value(trial_id, step, value)
        self._follow(trial_id, "intermediate_values", step, float(value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute of ours."""
        with self._forgetting_on_error():
            self._storage.set_trial_user_attr(trial_id, key, value)
        self._follow(trial_id, "user_attrs", key, json.loads(json.dumps(value)))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes an attribute of Optuna's."""
        with self._forgetting_on_error():
            self._storage.set_trial_system_attr(trial_id, key, value)
        self._follow(trial_id, "system_attrs", key, json.loads(json.dumps(value)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def _known(self) -> dict[int, FrozenTrial]:
        if self._trials is None:
            trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
            self._trials = {trial._trial_id: trial for trial in trials}
            self._unfinished = {trial._trial_id for trial in trials if not trial.state.is_finished()}
            self._stale.clear()
        while self._stale:
            trial_id = next(iter(self._stale))
            self._put(self._trials, self._storage.get_trial(trial_id))
            self._stale.remove(trial_id)
        return self._trials

    def _put(self, known: dict[int, FrozenTrial], trial: FrozenTrial) -> None:
        known[trial._trial_id] = trial
        (self._unfinished.discard if trial.state.is_finished() else self._unfinished.add)(trial._trial_id)

    def _follow(self, trial_id: int, field: str, key: str | int, value: Any) -> None:
        if self._trials is None or trial_id in self._stale:
            return  # it is read anew
        trial = copy.copy(self._trials[trial_id])
        setattr(trial, field, {**getattr(trial, field), key: value})
        self._trials[trial_id] = trial

    @contextmanager
    def _forgetting_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._trials = None
            raise

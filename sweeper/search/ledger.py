"""The ledger: one Optuna study that knows every trial, its epochs and what became of it."""

from __future__ import annotations

import itertools
import math
import uuid
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

import optuna
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from sweeper.records import (
    METRICS,
    Decision,
    EpochMetrics,
    Failure,
    ParamValue,
    Spent,
    Suggestion,
    TrialRecord,
    TrialState,
)
from sweeper.search.advice import Advice
from sweeper.search.algorithms import sampler_for
from sweeper.search.attributes import ATTEMPTS, EPOCH, FAILURE, PARAMS, STOP_REASON
from sweeper.search.curves import CurveSearch, GivenUp, direction, observations
from sweeper.search.editions import Editions, renamed
from sweeper.search.grid import grid_points
from sweeper.search.importance import importances
from sweeper.search.outlook import gain_of_draws
from sweeper.search.patience import patient
from sweeper.search.point import forget_point, scoped_point, suggest_point, unscoped
from sweeper.search.record import record_of
from sweeper.search.stop_rule import Verdict, ask_rule, verdict_at
from sweeper.search.views import rivals_of
from sweeper.spec.objectives import excess
from sweeper.spec.sweep import SweepSpec

_VERDICT: Final = "verdict"
_SEEDED: Final = "seeded"
_SWEEP_ID: Final = "sweep_id"
_SPENT: Final = "spent"
_ENDED: Final = "ended"
_EDITS: Final = "edits"


class Ledger:
    """Asks, reports and tells; every method writes through to the storage before it returns.

    One driver writes at a time; any number of processes may read.

    Usage::

        suggestion = ledger.ask()
        for epoch in train(suggestion):
            if ledger.report(suggestion.number, epoch) is Decision.STOP:
                ledger.stop(suggestion.number)
                break
        else:
            ledger.complete(suggestion.number)
    """

    def __init__(self, spec: SweepSpec, study: optuna.Study, advice: Advice) -> None:
        self._spec = spec
        self._study = study
        self._storage = study._storage
        self._advice = advice
        self._editions = Editions.of(study.user_attrs.get(_EDITS))
        self._grid = list(itertools.islice(grid_points(spec), spec.search.trials)) if _is_grid(spec) else []
        self._records: dict[int, tuple[FrozenTrial, TrialRecord]] = {}

    @cached_property
    def _curves(self) -> CurveSearch:
        return CurveSearch(self._spec, self._advice)

    @property
    def total(self) -> int:
        """Trials the finished sweep will have."""
        return max(len(self._grid), len(self._trials())) if self._grid else self._spec.search.trials

    @property
    def has_more(self) -> bool:
        """Whether `ask` would return a point."""
        return self._next_number() is not None

    @property
    def sweep_id(self) -> str:
        """Names this sweep and no other, over all resumes, also where another has the same name."""
        known = self._study.user_attrs.get(_SWEEP_ID)
        if known is None:
            known = uuid.uuid4().hex
            self._study.set_user_attr(_SWEEP_ID, known)
        return str(known)

    @property
    def spent(self) -> Spent:
        """What the sweep has used up so far."""
        known = self._study.user_attrs.get(_SPENT)
        return Spent() if known is None else Spent.model_validate(known)

    @property
    def ended(self) -> str | None:
        """Why the sweep is finished with fewer trials than `total`; None where it is not."""
        reason: str | None = self._study.user_attrs.get(_ENDED)
        return reason

    @patient
    def note_spent(self, spent: Spent) -> None:
        """Writes down what has been used up."""
        self._study.set_user_attr(_SPENT, spent.model_dump(mode="json"))

    @patient
    def end(self, reason: str | None) -> None:
        """Writes down that the sweep is finished and why; None takes it back."""
        if reason != self.ended:
            self._study.set_user_attr(_ENDED, reason)

    def enqueue_seeds(self) -> None:
        """Puts the seed points (or the grid) in the queue; does so once, also where a first try was cut off."""
        if self._study.user_attrs.get(_SEEDED):
            return
        queue = self._grid or [*self._spec.points, *self._advice.first_points][: self.total]
        for point in queue[len(self._trials()) :]:
            self._enqueue(point)
        self._study.set_user_attr(_SEEDED, True)

    def _enqueue(self, point: Mapping[str, ParamValue]) -> None:
        with warnings.catch_warnings():
            # Optuna warns of a point that leaves parameters out; that is allowed, they are sampled.
            warnings.simplefilter("ignore", UserWarning)
            self._study.enqueue_trial(scoped_point(self._spec, point, self._editions.name))

    def edit(self, before: SweepSpec, *, again: Sequence[int] = ()) -> Mapping[int, int]:
        """Goes over to this ledger's spec from the one so far: old trials stay what they are.

        Args:
            before: the spec so far.
            again: trials whose points run again under the new spec, each as a new trial.

        Returns:
            The new number of each of them.
        """
        trials = self._trials()
        # A queued trial has no settings yet: it runs with the new ones.
        begun = [record for record in self.records() if record.state is not TrialState.WAITING]
        numbers = {number: len(trials) + index for index, number in enumerate(again)}
        old = self._editions
        self._editions = old.after(before, self._spec, begun, again=numbers)
        self._records.clear()  # a record says what its trial had besides its point
        self._study.set_user_attr(_EDITS, self._editions.to_attribute())
        waiting = [trial for trial in trials if trial.state is OptunaState.WAITING]
        for trial in waiting:
            given = renamed(trial.system_attrs.get("fixed_params", {}), before, old, self._editions)
            self._storage.set_trial_system_attr(trial._trial_id, "fixed_params", given)
        points = {record.number: record.params for record in begun}
        for number in again:
            self._enqueue(points[number])
        queued = [unscoped(trial.system_attrs.get("fixed_params", {})) for trial in waiting]
        known = [point.items() for point in (*before.points, *points.values(), *queued)]
        for point in [*self._spec.points, *self._grid]:
            if not any(point.items() <= one for one in known):
                self._enqueue(point)
        return numbers

    def ask(self) -> Suggestion | None:
        """Returns a new point, a queued one first; None once the sweep has all its trials."""
        number = self._next_number()
        return None if number is None else self._begin(number)

    @patient
    def take_up(self, number: int) -> Suggestion:
        """Returns the point of a running trial whose worker or driver is gone, as its next attempt."""
        known = self._frozen(number).user_attrs
        if PARAMS in known:  # the point is complete, and stays whatever the space has become since
            attempt = int(known.get(ATTEMPTS, 0)) + 1
            self._storage.set_trial_user_attr(self._trial_id(number), ATTEMPTS, attempt)
            return Suggestion(number=number, attempt=attempt, params=self.record(number).params)
        self._study.sampler = sampler_for(self._spec, number, self._curves, self._editions)
        trial = Trial(self._study, self._trial_id(number))
        forget_point(trial)  # the driver died while it was drawn
        return self._suggestion(trial)

    @patient
    def report(self, number: int, epoch: EpochMetrics, *, is_last: bool = False) -> Decision:
        """Writes down a finished epoch and says whether the trial goes on.

        An epoch that is known already changes nothing: a trial taken up again tells of all its epochs anew.
        With its last epoch a trial is complete, whatever the stop rule would think of it.
        """
        before = self._frozen(number)
        known = sum(name.startswith(EPOCH) for name in before.user_attrs)
        if epoch.epoch < known:
            return Decision.CONTINUE
        # Through the storage: an optuna.Trial made from a number would first sample a whole new point.
        trial_id = self._trial_id(number)
        if epoch.epoch > known:
            self._storage.set_trial_user_attr(trial_id, f"{EPOCH}{epoch.epoch}", epoch.model_dump(mode="json"))
        if epoch.epoch not in before.intermediate_values:
            value = epoch.value(self._spec.search.objective)
            self._storage.set_trial_intermediate_value(trial_id, epoch.epoch, value)
        if is_last:
            return Decision.CONTINUE
        verdict = verdict_at(epoch.epoch, before.user_attrs.get(_VERDICT))
        if verdict is None:
            verdict = self._verdict(number, epoch)
            if verdict.stops or verdict.notes:
                self._storage.set_trial_user_attr(trial_id, _VERDICT, verdict.model_dump())
        for key, note in verdict.notes.items():
            self._storage.set_trial_system_attr(trial_id, key, note)
        return Decision.STOP if verdict.stops else Decision.CONTINUE

    @patient
    def complete(self, number: int) -> None:
        """Closes a trial that ran all its epochs; its value is the objective at its best epoch."""
        best = self.record(number).best_epoch(self._spec.search.objective)
        if best is None:
            self.fail(number, Failure(reason="the trial ended without an epoch whose objective is a number"))
            return
        self._study.tell(number, best.value(self._spec.search.objective), skip_if_finished=True)

    @patient
    def stop(self, number: int, *, reason: str | None = None) -> None:
        """Closes a trial that ended early; `reason` says why where it was not the stop rule."""
        if reason is not None and not self.record(number).state.is_finished:
            self._storage.set_trial_user_attr(self._trial_id(number), STOP_REASON, reason)
        self._study.tell(number, state=OptunaState.PRUNED, skip_if_finished=True)

    @patient
    def fail(self, number: int, failure: Failure) -> None:
        """Closes a trial that cannot go on, with the reason."""
        if self.record(number).state.is_finished:
            return
        self._storage.set_trial_user_attr(self._trial_id(number), FAILURE, failure.model_dump(mode="json"))
        self._study.tell(number, state=OptunaState.FAIL, skip_if_finished=True)

    @patient
    def record(self, number: int) -> TrialRecord:
        """Returns what is known of one trial."""
        return self._record(self._frozen(number))

    @patient
    def records(self) -> tuple[TrialRecord, ...]:
        """Returns what is known of every trial, queued ones included, by number."""
        return tuple(self._record(trial) for trial in self._trials())

    @patient
    def interrupted(self) -> tuple[int, ...]:
        """Returns the numbers of the trials that are marked as running: at a driver's start, those to take up."""
        return tuple(trial.number for trial in self._trials(OptunaState.RUNNING))

    def expected_gain(self) -> float | None:
        """Returns how much better than the best trial so far the best point is expected to be (the regret left).

        In the objective's units, at least 0, whichever sampler is used; None while there are too few trials.
        """
        return self._curves.expected_gain(observations(self._study, self._editions))

    def gain_of_more(self, *, trials: int) -> float | None:
        """Returns by how much `trials` more would likely improve the objective; None while there are too few trials.

        What the tail of the finished trials' values promises (see `outlook`), but no more than the regret left and
        than the metric can have. Several objectives have no common unit; None for them too.
        """
        if self._spec.search.also:
            return None
        objective = self._spec.search.objective
        metric = METRICS[objective]
        sign = 1.0 if metric.higher_is_better else -1.0
        best = [record.best_epoch(objective) for record in self.records() if record.state.is_finished]
        values = [sign * epoch.value(objective) for epoch in best if epoch is not None]
        promised = gain_of_draws(values, draws=trials)
        if not promised:
            return promised
        left = self.expected_gain()
        room = sign * metric.ideal - max(value for value in values if math.isfinite(value))
        return min(promised, room, promised if left is None else left)

    def given_up(self) -> tuple[GivenUp, ...]:
        """Returns the backbones of a choice that were tried and are beaten for certain, with the reason."""
        return self._curves.given_up(observations(self._study, self._editions), direction(self._study))

    def importances(self) -> dict[str, float]:
        """Returns the share of each searched parameter in what sets good trials apart; see `importance`."""
        objective = self._spec.search.objective
        best = ((trial, self._record(trial).best_epoch(objective)) for trial in self._trials() if trial.params)
        rated = [(trial, epoch.value(objective)) for trial, epoch in best if epoch and trial.state.is_finished()]
        return importances(rated, self._study.direction)

    def _trials(self, *states: OptunaState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _verdict(self, number: int, epoch: EpochMetrics) -> Verdict:
        trial = self._frozen(number)
        rivals = rivals_of(trial, self._study, self._spec, self._editions)
        stops, notes = ask_rule(rivals, trial)  # always asked, for what it notes
        ends = self._is_hopeless(epoch) or (stops and not self._is_on_front(number, epoch))
        return Verdict(epoch=epoch.epoch, stops=ends, notes=notes)

    def _is_hopeless(self, epoch: EpochMetrics) -> bool:
        """Whether the epoch breaks a constraint on a cost, which no further epoch can mend."""
        costs = {name: bound for name, bound in self._spec.search.constraints.items() if METRICS[name].is_cost}
        return excess(costs, epoch) > 0.0

    def _is_on_front(self, number: int, epoch: EpochMetrics) -> bool:
        """Whether no other trial dominated this one at its epoch; the stop rule sees one objective only."""
        search = self._spec.search
        if not search.also:
            return False
        rivals = (record.epochs for record in self.records() if record.number != number)
        objectives = (search.objective, *search.also)
        return not any(
            epochs[epoch.epoch - 1].dominates(epoch, objectives) for epochs in rivals if len(epochs) >= epoch.epoch
        )

    @patient
    def _next_number(self) -> int | None:
        if waiting := self._trials(OptunaState.WAITING):
            return waiting[0].number
        asked = len(self._trials())
        return asked if asked < self.total else None

    @patient
    def _begin(self, number: int) -> Suggestion:
        """Takes trial `number`, the next one, from the queue or makes it, and draws its point."""
        if number in self.interrupted():  # an answer of the storage was lost: it is there already
            return self.take_up(number)
        self._study.sampler = sampler_for(self._spec, number, self._curves, self._editions)
        return self._suggestion(self._study.ask())

    def _suggestion(self, trial: Trial) -> Suggestion:
        params = self._point(trial)
        attempt = int(trial.user_attrs.get(ATTEMPTS, 0)) + 1
        # Fixed values are no parameters to Optuna, but they are to whoever reads the leaderboard.
        trial.set_user_attr(PARAMS, params)
        trial.set_user_attr(ATTEMPTS, attempt)
        return Suggestion(number=trial.number, attempt=attempt, params=params)

    def _point(self, trial: Trial) -> dict[str, ParamValue]:
        return suggest_point(trial, self._spec, self._editions.name)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        """Returns a trial's record, made once for each state of the trial: what is written makes it another object."""
        of, record = self._records.get(trial.number, (None, None))
        if record is None or of is not trial:
            record = record_of(trial, self._editions.kept(trial.number))
            self._records[trial.number] = (trial, record)
        return record

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)


def _is_grid(spec: SweepSpec) -> bool:
    return spec.search.sampler == "grid"

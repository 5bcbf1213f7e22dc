"""The runs over seeds in MLflow: each nested under the run of its trial, whose metrics say what they come to."""

from __future__ import annotations

import time
from statistics import mean, pstdev

from mlflow import MlflowClient

from sweeper.records import TrialRecord, TrialState
from sweeper.seeds import SeedPlan
from sweeper.spec import TrialConfig
from sweeper.tracking import projection
from sweeper.tracking.client import translated
from sweeper.tracking.mlflow import MlflowRuns
from sweeper.tracking.projection import Point
from sweeper.tracking.tracker import SweepInfo


class SeedRuns(MlflowRuns):
    """As the runs of trials, one level deeper."""

    number_tag = "sweeper.seed_run"

    def __init__(self, client: MlflowClient, uri: str, experiment_id: str, info: SweepInfo, *, plan: SeedPlan) -> None:
        super().__init__(client, uri, experiment_id, info)
        self._plan = plan
        self._trial_ids: dict[int, str] = {}
        self._written: dict[int, tuple[float, ...]] = {}

    def read_back(self) -> None:
        """Learns what MLflow holds of the runs over seeds, and which runs their trials are."""
        super().read_back()
        with translated(self._uri):
            for run in self._all_runs():
                if (number := run.tags.get(projection.TRIAL_TAG)) is not None:
                    self._trial_ids[int(number)] = run.run_id

    def write_sweep(self) -> None:
        """Writes mean and spread over the seeds so far into the run of each trial."""
        objective = self._info.objective
        for trial in self._plan.trials:
            values = tuple(
                one.best
                for number, one in sorted(self._trials.items())
                if self._plan.run(number)[0] == trial and one.best is not None and one.state is TrialState.COMPLETE
            )
            if not values or self._written.get(trial) == values or trial not in self._trial_ids:
                continue
            now_ms = int(time.time() * 1000)
            found = {f"seeds_{objective}_mean": mean(values), f"seeds_{objective}_std": pstdev(values)}
            points = [Point(name, value, len(values), now_ms) for name, value in found.items()]
            with translated(self._uri):
                self._log_to(self._trial_ids[trial], points)
            self._written[trial] = values

    def _parent_of(self, number: int) -> str:
        trial, _ = self._plan.run(number)
        return self._trial_ids.get(trial) or super()._parent_of(number)

    def _name(self, record: TrialRecord, config: TrialConfig | None) -> str:
        trial, seed = self._plan.run(record.number)
        of = projection.run_name(record.model_copy(update={"number": trial}), config)
        return f"{of} seed={seed}"

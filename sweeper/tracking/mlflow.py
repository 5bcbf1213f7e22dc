"""MlflowRuns: the runs of one sweep in MLflow, and what they hold already. Imports mlflow: import it when needed."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import mlflow.entities
from mlflow import MlflowClient

from sweeper.records import TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.tracking import projection
from sweeper.tracking.client import find_or_make_experiment, open_client, translated
from sweeper.tracking.projection import Point, RunStatus, TrialSummary
from sweeper.tracking.tracker import SweepInfo
from sweeper.tracking.uri import hide_password

_LOG = logging.getLogger(__name__)

# `log_batch` takes 1000 entities: these metrics, 100 parameters and 100 tags.
_METRICS_A_CALL: Final = 800
_PARAMS_A_CALL: Final = 100
_RUNS_A_PAGE: Final = 1000
RunsOf = Callable[[MlflowClient, str, str, SweepInfo], "MlflowRuns"]
"""Takes the client, the URI, the experiment's id and the sweep."""


def connect(
    uri: str, experiment: str, *, artifacts: Path | None, info: SweepInfo, kind: RunsOf | None = None
) -> MlflowRuns:
    """Opens the sweep's runs, made now or found again.

    Args:
        uri: any MLflow tracking URI.
        experiment: name of the experiment, made if missing.
        artifacts: where a new experiment keeps its artifacts; None lets the server decide.
        info: the sweep.
        kind: which of its runs, those of its trials by default.

    Raises:
        ServerAway: nothing answers at `uri`.
        RequestRefused: the server does not take the sweep.
    """
    client = open_client(uri)
    with translated(uri):
        runs = (kind or MlflowRuns)(client, uri, find_or_make_experiment(client, experiment, artifacts), info)
    runs.read_back()
    runs.describe()
    return runs


@dataclass
class _Run:
    """What one run holds in MLflow, as far as we know."""

    run_id: str
    status: str
    epochs: int = 0
    params: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class MlflowRuns:
    """A parent run for the sweep and a child for each trial; every method writes only what is missing.

    After an error the runs must be read back before anything else is written: the server may have taken a
    request whose answer was lost.
    """

    number_tag: ClassVar[str] = projection.TRIAL_TAG
    """The tag that tells the children apart, by their number."""

    def __init__(self, client: MlflowClient, uri: str, experiment_id: str, info: SweepInfo) -> None:
        self._client = client
        self._uri = uri
        self._experiment_id = experiment_id
        self._info = info
        self._parent: _Run | None = None
        self._children: dict[int, _Run] = {}
        self._trials: dict[int, TrialSummary] = {}

    def read_back(self) -> None:
        """Learns what MLflow holds of the sweep, and deletes runs that it made after we had stopped waiting."""
        parents: list[_Run] = []
        trials: defaultdict[int, list[_Run]] = defaultdict(list)
        with translated(self._uri):
            for run in self._all_runs():
                if projection.PARENT_TAG not in run.tags:
                    parents.append(run)
                elif self.number_tag in run.tags:
                    trials[int(run.tags[self.number_tag])].append(run)
            for same in trials.values():
                same.sort(key=lambda run: (run.epochs, len(run.params)), reverse=True)
                for spare in same[1:]:
                    if not (spare.params or spare.epochs):  # nobody knew of it, so nobody wrote to it
                        self._client.delete_run(spare.run_id)
        self._parent = parents[0] if parents else None
        self._children = {number: same[0] for number, same in trials.items()}

    def describe(self) -> None:
        """Writes what is known of the whole sweep and marks it as running."""
        with translated(self._uri):
            parent = self._parent_run()
            self._write_tags(parent, _sweep_tags(self._info))
            self._set_status(parent, RunStatus.RUNNING)
        try:
            self._client.log_text(parent.run_id, self._info.resolved_spec, "resolved.yaml")
            self._client.log_text(parent.run_id, self._info.environment.model_dump_json(indent=2), "environment.json")
        except Exception as error:  # noqa: BLE001  (every artifact store has errors of its own)
            _LOG.warning(
                "MLflow's artifact store did not take `resolved.yaml` (%s).", hide_password(str(error), self._uri)
            )

    def epochs_of(self, number: int) -> int:
        """Returns how many epochs of a trial MLflow has, as far as we know."""
        return self._children[number].epochs if number in self._children else 0

    def write_trial(self, record: TrialRecord, config: TrialConfig | None) -> None:
        """Makes the trial's run match its record; a waiting trial has none yet.

        A waiting trial may still lack parameters, and MLflow never lets one change.

        Raises:
            ServerAway: try again later.
            RequestRefused: this record cannot be written.
        """
        self._trials[record.number] = projection.trial_summary(record, self._info.objective)
        if record.state is TrialState.WAITING:
            return
        points = projection.epoch_points(record, self._info.objective, after=self.epochs_of(record.number))
        params = projection.run_params(record, config)
        with translated(self._uri):
            run = self._children.get(record.number)
            if run is None:
                run = self._children[record.number] = self._create_child(record, config)
            self._write_params(run, params)
            self._write_epochs(run, points)
            self._write_tags(run, projection.run_tags(record) | _data_tags(self._info))
            self._set_status(run, projection.run_status(record), end=record.finished)

    def write_sweep(self) -> None:
        """Makes the parent's metrics match the trials handed over so far."""
        wanted = projection.sweep_metrics(self._trials.values(), self._info.objective)
        step = projection.finished_trials(wanted)
        with translated(self._uri):
            parent = self._parent_run()
            if step < projection.finished_trials(parent.metrics):
                return  # a resume is still handing over the records of its finished trials
            now_ms = int(time.time() * 1000)
            points = [Point(k, v, step, now_ms) for k, v in wanted.items() if parent.metrics.get(k) != v]
            self._log(parent, points=points)
            parent.metrics |= wanted

    def end(self, *, finished: bool) -> None:
        """Leaves no run as running: the sweep is FINISHED or KILLED, and so is what was cut off."""
        with translated(self._uri):
            for run in self._children.values():
                if run.status == RunStatus.RUNNING:
                    self._set_status(run, RunStatus.KILLED)
            self._set_status(self._parent_run(), RunStatus.FINISHED if finished else RunStatus.KILLED)

    def _all_runs(self) -> Iterator[_Run]:
        """Yields what MLflow has of the sweep, oldest first."""
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                filter_string=f"tags.`{projection.SWEEP_TAG}` = '{self._info.sweep_id}'",
                max_results=_RUNS_A_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                yield _Run(
                    run_id=run.info.run_id,
                    status=run.info.status,
                    epochs=int(run.data.metrics.get(projection.EPOCH_KEY, 0)),
                    params=set(run.data.params),
                    tags=dict(run.data.tags),
                    metrics=dict(run.data.metrics),
                )
            token = page.token
            if not token:
                return

    def _parent_run(self) -> _Run:
        if self._parent is None:
            tags = {projection.SWEEP_TAG: self._info.sweep_id}
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=self._info.name)
            self._parent = _Run(run.info.run_id, RunStatus.RUNNING, tags=tags)
        return self._parent

    def _create_child(self, record: TrialRecord, config: TrialConfig | None) -> _Run:
        tags = {
            projection.PARENT_TAG: self._parent_of(record.number),
            projection.SWEEP_TAG: self._info.sweep_id,
            self.number_tag: str(record.number),
            **projection.run_tags(record),
            **_data_tags(self._info),
        }
        run = self._client.create_run(
            self._experiment_id,
            start_time=None if record.started is None else int(record.started * 1000),
            tags=tags,
            run_name=self._name(record, config),
        )
        return _Run(run.info.run_id, RunStatus.RUNNING, tags=tags)

    def _parent_of(self, number: int) -> str:
        """Returns the id of the run that a child belongs to."""
        return self._parent_run().run_id

    def _name(self, record: TrialRecord, config: TrialConfig | None) -> str:
        return projection.run_name(record, config)

    def _write_params(self, run: _Run, wanted: dict[str, str]) -> None:
        # MLflow refuses to change a parameter, so the first value stays (a data folder may have moved since).
        missing = [(key, value) for key, value in wanted.items() if key not in run.params]
        for start in range(0, len(missing), _PARAMS_A_CALL):
            chunk = missing[start : start + _PARAMS_A_CALL]
            self._client.log_batch(run.run_id, params=[mlflow.entities.Param(key, value) for key, value in chunk])
            run.params |= {key for key, _ in chunk}

    def _write_epochs(self, run: _Run, epochs: list[list[Point]]) -> None:
        """Writes whole epochs in a call, so that the last value of `epoch` tells what is there."""
        call: list[Point] = []
        for points in [*epochs, []]:
            if call and (not points or len(call) + len(points) > _METRICS_A_CALL):
                self._log(run, points=call)
                run.epochs = call[-1].step
                call = []
            call += points

    def _write_tags(self, run: _Run, wanted: dict[str, str]) -> None:
        changed = {key: value for key, value in wanted.items() if run.tags.get(key) != value}
        if changed:
            tags = [mlflow.entities.RunTag(key, value) for key, value in changed.items()]
            self._client.log_batch(run.run_id, tags=tags)
            run.tags |= changed

    def _log(self, run: _Run, *, points: list[Point]) -> None:
        self._log_to(run.run_id, points)

    def _log_to(self, run_id: str, points: list[Point]) -> None:
        metrics = [mlflow.entities.Metric(p.key, p.value, p.time_ms, p.step) for p in points]
        if metrics:
            self._client.log_batch(run_id, metrics=metrics)

    def _set_status(self, run: _Run, status: RunStatus, *, end: float | None = None) -> None:
        if run.status == status:
            return
        if status is RunStatus.RUNNING:
            self._client.update_run(run.run_id, status=status.value)
        else:
            end_ms = None if end is None else int(end * 1000)
            self._client.set_terminated(run.run_id, status=status.value, end_time=end_ms)
        run.status = status


def _sweep_tags(info: SweepInfo) -> dict[str, str]:
    environment = info.environment.model_dump(exclude={"packages", "gpus"}) | info.environment.packages
    tags = {f"sweeper.env.{name}": str(value) for name, value in environment.items() if value is not None}
    if info.environment.gpus:
        tags["sweeper.env.gpus"] = ", ".join(info.environment.gpus)
    if info.environment.git_commit:
        tags["mlflow.source.git.commit"] = info.environment.git_commit
    return tags | {"sweeper.objective": info.objective} | _data_tags(info)


def _data_tags(info: SweepInfo) -> dict[str, str]:
    return {
        "sweeper.data_fingerprint": info.data_fingerprint,
        "sweeper.split_fingerprint": info.split_fingerprint,
    }

"""MlflowRuns: the runs of one sweep in MLflow, and what they hold already. The only import of mlflow.

`MlflowClient` with explicit run ids only: the fluent API keeps one active run for the whole process. Nothing is
left to MLflow's retries (a dead server hangs one call for 246 s with its defaults) or to its asynchronous mode
(which drops what the server did not take); `sweeper.tracking.background` does both.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import sqlalchemy

from sweeper.errors import TrackingError
from sweeper.records import TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.tracking import projection
from sweeper.tracking.answers import RequestRefused, ServerAway
from sweeper.tracking.projection import Point, RunStatus, TrialSummary
from sweeper.tracking.tracker import SweepInfo
from sweeper.tracking.uri import hide_password, is_server, without_password

_SETTINGS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for _name, _value in _SETTINGS.items():  # what the user has set stays
    os.environ.setdefault(_name, _value)

import mlflow.entities  # noqa: E402  (it reads MLFLOW_LOGGING_LEVEL on import)
from mlflow import MlflowClient  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

_LOG = logging.getLogger(__name__)

# `log_batch` takes 1000 entities: these metrics, 100 parameters and 100 tags.
_METRICS_A_CALL: Final = 800
_PARAMS_A_CALL: Final = 100
_RUNS_A_PAGE: Final = 1000
# HTTP statuses (MLflow maps its error codes to them) after which asking again is no use.
_REFUSALS: Final = (400, 403, 404, 409)


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


def open_client(uri: str) -> MlflowClient:
    """Returns a client that is quiet on standard error."""
    # MLflow's own use of SQLAlchemy and pydantic warns; limited to its modules, the user's filters stay.
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    with translated(uri):
        if not is_server(uri):
            _require_database(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def find_experiment(uri: str, name: str) -> str:
    """Returns the id of an experiment.

    Raises:
        TrackingError: there is none of that name.
    """
    client = open_client(uri)
    with translated(uri):
        found = client.get_experiment_by_name(name)
    if found is None:
        raise TrackingError(f"There is no experiment `{name}` in MLflow at `{without_password(uri)}` yet.")
    return str(found.experiment_id)


def find_sweep_run(uri: str, experiment: str, sweep_id: str) -> str | None:
    """Returns the id of a sweep's own run; None where MLflow has none.

    Raises:
        TrackingError: there is no such experiment, or nothing answers.
    """
    experiment_id = find_experiment(uri, experiment)
    client = open_client(uri)
    with translated(uri):
        found = client.search_runs(
            [experiment_id],
            filter_string=f"tags.`{projection.SWEEP_TAG}` = '{sweep_id}'",
            order_by=["attributes.start_time ASC"],
        )
    own = [run.info.run_id for run in found if projection.PARENT_TAG not in run.data.tags]
    return str(own[0]) if own else None


def log_text(uri: str, run_id: str, *, name: str, text: str) -> None:
    """Makes a text an artifact of a run.

    Raises:
        TrackingError: the artifact store does not take it.
    """
    with translated(uri):
        open_client(uri).log_text(run_id, text, name)


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


def _require_database(uri: str) -> None:
    """Asks a database once whether it is there; MLflow would ask ten times, for 100 s."""
    engine = sqlalchemy.create_engine(uri)
    if engine.url.get_backend_name() == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()


def find_or_make_experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    """Returns the id of an experiment, made if missing; `artifacts` as for `connect`."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = None if artifacts is None else artifacts.absolute().as_uri()
        return str(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage != "active":
        raise RequestRefused(
            f"The experiment `{name}` was deleted in MLflow; bring it back with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or name another as `tracking.experiment`."
        )
    return str(found.experiment_id)


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


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into ours, without the URI's password."""
    try:
        yield
    except MlflowException as error:
        text = hide_password(str(error), uri).partition("\n")[0]
        refused = error.get_http_status_code() in _REFUSALS
        if not refused and "API request to" in text:
            text = "no connection"
        # The cause is left out: its text may hold the password.
        raise (RequestRefused if refused else ServerAway)(text) from None
    except TrackingError:
        raise
    except Exception as error:  # noqa: BLE001  (MLflow lets errors of requests, SQLAlchemy and drivers through)
        raise ServerAway(hide_password(f"{type(error).__name__}: {error}", uri).partition("\n")[0]) from None

"""A client of MLflow that fails fast and in our own words. Imports mlflow: import it when needed.

`MlflowClient` with explicit run ids only: the fluent API keeps one active run for the whole process. Nothing is
left to MLflow's retries (a dead server hangs one call for 246 s with its defaults, see `quiet`) or to its
asynchronous mode (which drops what the server did not take); `sweeper.tracking.background` does both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sweeper.errors import TrackingError
from sweeper.tracking import projection
from sweeper.tracking.answers import RequestRefused, ServerAway
from sweeper.tracking.uri import hide_password, is_server, without_password

# HTTP statuses (MLflow maps its error codes to them) after which asking again is no use.
_REFUSALS: Final = (400, 403, 404, 409)


def open_client(uri: str) -> MlflowClient:
    """Returns a client that is quiet on standard error."""
    # MLflow's own use of SQLAlchemy and pydantic warns; limited to its modules, the user's filters stay.
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    with translated(uri):
        if not is_server(uri):
            _require_database(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def find_or_make_experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    """Returns the id of an experiment, made if missing; `artifacts` where a new one keeps its artifacts, None lets the
    server decide."""
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


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into ours, without the URI's password."""
    try:
        yield
    except MlflowException as error:
        text = _first_line(hide_password(str(error), uri))
        refused = error.get_http_status_code() in _REFUSALS
        if not refused and "API request to" in text:
            text = "no connection"
        # The cause is left out: its text may hold the password.
        raise (RequestRefused if refused else ServerAway)(text) from None
    except TrackingError:
        raise
    except Exception as error:  # noqa: BLE001  (MLflow lets errors of requests, SQLAlchemy and drivers through)
        raise ServerAway(_first_line(hide_password(f"{type(error).__name__}: {error}", uri))) from None


def _first_line(text: str) -> str:
    """Returns the first line that says what is the matter: SQLAlchemy's may begin with where it came from."""
    return next((line for line in text.splitlines() if not line.startswith("(raised as a result of")), text)


def _require_database(uri: str) -> None:
    """Asks a database once whether it is there; MLflow would ask ten times, for 100 s."""
    engine = sqlalchemy.create_engine(uri)
    if engine.url.get_backend_name() == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        sqlalchemy.inspect(engine)
    finally:
        engine.dispose()

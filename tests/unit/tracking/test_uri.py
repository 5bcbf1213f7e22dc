from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper.errors import InputError
from sweeper.paths import Workspace
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking.uri import choose_uri, hide_password, is_server, without_password


def test_the_spec_wins_over_the_environment_and_that_over_the_workspace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    assert choose_uri(TrackingSpec(), workspace) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert choose_uri(TrackingSpec(), workspace) == "http://tracking:5000"
    assert choose_uri(TrackingSpec(uri="sqlite:///mine.db"), workspace) == "sqlite:///mine.db"


def test_the_default_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_uri(TrackingSpec(), Workspace(Path("sweeps"))) == f"sqlite:///{tmp_path}/sweeps/mlflow.db"


def test_signs_that_a_url_would_take_for_its_own_are_escaped() -> None:
    uri = choose_uri(TrackingSpec(), Workspace(Path("/a b/100%?")))
    assert uri == "sqlite:////a b/100%25%3F/mlflow.db"


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "./mlruns", "/tmp/mlruns"])
def test_a_folder_is_refused(uri: str, tmp_path: Path) -> None:
    message = (
        f"`tracking.uri` must be a server or a database, but got `{uri}`, a folder, which MLflow no longer writes to; "
        "use `sqlite:///<folder>/mlflow.db`."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        choose_uri(TrackingSpec(uri=uri), Workspace(tmp_path))


def test_a_folder_in_the_environment_is_refused_by_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    with pytest.raises(InputError, match=r"^`MLFLOW_TRACKING_URI` must be a server or a database, but got `mlruns`"):
        choose_uri(TrackingSpec(), Workspace(tmp_path))


def test_a_server_is_told_from_a_database() -> None:
    assert is_server("https://tracking")
    assert is_server("databricks://profile")
    assert not is_server("postgresql://db/mlflow")
    assert not is_server("sqlite:///mlflow.db")


def test_a_password_is_never_shown() -> None:
    assert without_password("http://me:s3/c@ret@host:5000/x?token=1") == "http://host:5000/x"
    assert without_password("postgresql+psycopg2://me:secret@db/mlflow") == "postgresql+psycopg2://db/mlflow"
    assert without_password("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"
    text = "API request to http://me:secret@host:5000/api failed"
    assert hide_password(text, "http://me:secret@host:5000/") == "API request to http://host:5000/api failed"

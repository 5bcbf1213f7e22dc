"""Where MLflow is: which URI is used, and how it is shown without its password."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from sweeper.errors import InputError
from sweeper.paths import Workspace
from sweeper.spec.secrets import expanded
from sweeper.spec.tracking import TrackingSpec

_USER_PART: Final = re.compile(r"(?<=://).*@")


def choose_uri(tracking: TrackingSpec, workspace: Workspace) -> str:
    """Returns the URI to write to: the spec's, else `MLFLOW_TRACKING_URI`, else the workspace's own file.

    Raises:
        InputError: the URI is a folder, as MLflow writes to servers and databases only, or names an environment
            variable that is not set.
    """
    uri = expanded(tracking.uri, setting="tracking.uri") if tracking.uri else os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        path = str(workspace.mlflow_store.absolute())
        # SQLAlchemy reads `?` as the start of options and decodes `%`; all other characters stand as they are.
        return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")
    source = "`tracking.uri`" if tracking.uri else "`MLFLOW_TRACKING_URI`"
    if uri != "databricks" and urlsplit(uri).scheme in ("", "file"):
        raise InputError(
            f"{source} must be a server or a database, but got `{uri}`, a folder, which MLflow no longer writes to; "
            "use `sqlite:///<folder>/mlflow.db`."
        )
    return uri


def is_server(uri: str) -> bool:
    """Whether a server stands behind the URI, which then decides where artifacts go."""
    return urlsplit(uri).scheme in ("http", "https") or uri.startswith("databricks")


def without_password(uri: str) -> str:
    """Returns the URI as it may be shown: without user, password and options."""
    if uri.startswith("sqlite:"):
        return uri
    return _USER_PART.sub("", uri).partition("?")[0]


def hide_password(text: str, uri: str) -> str:
    """Returns `text` with the user and password of `uri` taken out wherever they appear."""
    secret = None if uri.startswith("sqlite:") else _USER_PART.search(uri)
    return text.replace(secret[0], "") if secret else text

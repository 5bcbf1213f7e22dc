"""What MLflow reads when it is imported: no retries, ten seconds, no chatter. Comes before any import of mlflow."""

from __future__ import annotations

import logging
import os
from typing import Final

_SETTINGS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for _name, _value in _SETTINGS.items():  # what the user has set stays
    os.environ.setdefault(_name, _value)
# An error of its database is raised as well, and told in a sentence; here it would be a page of SQL on the screen.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

"""The `tracking:` section: where MLflow is."""

from __future__ import annotations

from sweeper.spec.model import Section


class TrackingSpec(Section):
    """Where the sweep is written down for people to look at."""

    enabled: bool = True
    """Write to MLflow; the leaderboard and `resume` work without it."""
    uri: str | None = None
    """Any MLflow tracking URI; by default `MLFLOW_TRACKING_URI`, else an SQLite file beside the sweeps."""
    experiment: str | None = None
    """MLflow experiment; by default the sweep's name."""

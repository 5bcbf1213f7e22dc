"""5. What is written for people to look at: MLflow, a projection of the ledger. The only import of mlflow.

`import sweeper.tracking` does not import mlflow (1.2 s): that happens when a tracker begins.
"""

from __future__ import annotations

from functools import partial

import sweeper.tracking.quiet  # noqa: F401  (before anything here imports mlflow)
from sweeper.paths import Workspace
from sweeper.seeds import SeedPlan
from sweeper.spec.tracking import TrackingSpec
from sweeper.tracking.artifacts import attach
from sweeper.tracking.background import BackgroundTracker, SweepRuns
from sweeper.tracking.environment import Environment, capture_environment
from sweeper.tracking.server import UiServer, serve_ui
from sweeper.tracking.tracker import Backlog, NoopTracker, SweepInfo, Tracker
from sweeper.tracking.uri import choose_uri, is_server, without_password

__all__ = [
    "Backlog",
    "Environment",
    "NoopTracker",
    "SweepInfo",
    "Tracker",
    "UiServer",
    "attach",
    "capture_environment",
    "choose_uri",
    "is_server",
    "open_seed_tracker",
    "open_tracker",
    "serve_ui",
    "without_password",
]


def open_tracker(tracking: TrackingSpec, workspace: Workspace) -> Tracker:
    """Returns the tracker that the `tracking:` section asks for; nothing is connected before `begin`.

    Raises:
        InputError: the URI is one that MLflow cannot write to.
    """
    return _open(tracking, workspace, None)


def open_seed_tracker(tracking: TrackingSpec, workspace: Workspace, plan: SeedPlan) -> Tracker:
    """Returns the same for the runs over seeds, which are nested under the runs of their trials.

    Raises:
        InputError: the URI is one that MLflow cannot write to.
    """
    return _open(tracking, workspace, plan)


def _open(tracking: TrackingSpec, workspace: Workspace, plan: SeedPlan | None) -> Tracker:
    if not tracking.enabled:
        return NoopTracker()
    uri = choose_uri(tracking, workspace)
    artifacts = None if is_server(uri) else workspace.mlflow_artifacts

    def connect(info: SweepInfo) -> SweepRuns:
        import sweeper.tracking.mlflow as door
        from sweeper.tracking.seeds import SeedRuns

        kind = None if plan is None else partial(SeedRuns, plan=plan)
        return door.connect(uri, tracking.experiment or info.name, artifacts=artifacts, info=info, kind=kind)

    return BackgroundTracker(connect, where=without_password(uri))

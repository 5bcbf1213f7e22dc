"""A file put beside the runs of a sweep in MLflow, after the sweep or while it runs."""

from __future__ import annotations

from sweeper.errors import TrackingError
from sweeper.paths import Workspace
from sweeper.spec import SweepSpec
from sweeper.tracking.uri import choose_uri


def attach(spec: SweepSpec, workspace: Workspace, *, sweep_id: str, name: str, text: str) -> None:
    """Makes a text an artifact of the sweep's own run; one of the same name is replaced.

    Args:
        spec: the sweep; where nothing is tracked, nothing is done.
        workspace: where the sweep lies.
        sweep_id: `Ledger.sweep_id`.
        name: of the artifact, with its ending.
        text: its content.

    Raises:
        TrackingError: MLflow is away, does not know the sweep, or does not take the file.
    """
    if not spec.tracking.enabled:
        return
    uri = choose_uri(spec.tracking, workspace)

    import sweeper.tracking.client as door

    experiment = spec.tracking.experiment or spec.name
    run_id = door.find_sweep_run(uri, experiment, sweep_id)
    if run_id is None:
        raise TrackingError(f"The experiment `{experiment}` in MLflow has no run of this sweep.")
    door.log_text(uri, run_id, name=name, text=text)

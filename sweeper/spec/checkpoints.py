"""The `checkpoints:` section: what a sweep keeps on disk."""

from __future__ import annotations

from pydantic import Field

from sweeper.spec.model import Section


class CheckpointsSpec(Section):
    """What is kept of trials that are finished; a running or failed trial also has the state it goes on from."""

    keep: int | None = Field(default=10, ge=1)
    """Best weights are kept of so many trials, the first of the leaderboard; null keeps those of all."""
    remote: str | None = None
    """Where running trials leave their files for the next worker, e.g. `s3://bucket/sweeps`, if workers do not share
    the sweep's folder; those of finished trials come home to it. Credentials are the environment's."""
    disk_gb: float | None = Field(default=None, gt=0)
    """What `trials/` may take, in GB: above it, states of failed trials go first, then more of the best weights, and
    then the sweep pauses."""

"""What a plan says, and where a sweep keeps it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.paths import SweepPaths, written_aside
from sweeper.planning.machine import Place
from sweeper.planning.predict import Measurements
from sweeper.planning.rungs import Rung


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Spread(_Value):
    """What a figure comes to over the points that were looked at."""

    least: float
    mean: float
    most: float


class BackbonePlan(_Value):
    """One backbone's trials."""

    backbone: str
    parameters: int
    trained: int
    """Parameters that train, where most do."""
    gflops: float
    """Billions of operations in the forward pass of one image, two for each multiplication with its addition."""
    batch_size: int
    """Where memory is largest."""
    memory_mb: float
    """Peak memory of the point that takes most."""
    largest_batch: int | None
    """The largest batch that fits there; None where the device is not in this machine."""
    epoch_seconds: Spread | None
    """None where images or speed are not known."""
    trials: float
    """Trials of this backbone, if all backbones get as many."""
    hours: float | None
    """Of all its trials, one after another."""


class Disk(_Value):
    """What a sweep writes, in MiB."""

    images_mb: float | None
    """The cache of decoded images."""
    features_mb: float
    """What frozen stages give, kept by `cache_features`; for the point that keeps most."""
    weights_mb: float
    """`best.safetensors` of all trials."""
    checkpoints_mb: float
    """`last.ckpt` of the trials that run at once."""


class Plan(_Value):
    """A sweep before it starts."""

    name: str
    place: Place
    backbones: tuple[BackbonePlan, ...]
    trials: int
    grid_points: int | None
    """Points of a grid, also those beyond `search.trials`; None for other samplers."""
    rungs: tuple[Rung, ...]
    """The stop rule's rungs, and how many trials are expected to reach each."""
    epochs: float
    """Of all trials together, as expected."""
    trial_hours: float | None
    """Of all trials, one after another; a trial on a CPU takes `resources.cpus_per_trial` of it."""
    gpu_hours: float | None
    hours: float | None
    """On the clock, with so many trials at once as fit."""
    price: float | None
    """`hours` times `resources.price_per_hour`."""
    disk: Disk
    notes: tuple[str, ...]
    """What could not be known, and what else is worth knowing."""
    problems: tuple[str, ...]
    """What cannot run, a sentence each."""
    measurements: Measurements


def write_plan(plan: Plan, paths: SweepPaths) -> None:
    """Keeps the plan in the sweep's folder."""
    with written_aside(paths.plan) as aside:
        aside.write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_plan(paths: SweepPaths) -> Plan | None:
    """Returns the plan that a sweep was started with; None if there is none that can be read."""
    try:
        return Plan.model_validate_json(paths.plan.read_bytes())
    except (OSError, ValidationError):
        return None

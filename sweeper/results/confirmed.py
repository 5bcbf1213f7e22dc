"""What runs over seeds say, read from a sweep's folder and told in words."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.paths import SweepPaths
from sweeper.predictions import read_predictions
from sweeper.records import METRICS, HeldOutScore, Metric
from sweeper.results.confirmation import Confirmation, Duel, confirmation_of, with_test
from sweeper.seeds import SeedPlan
from sweeper.spec import SweepSpec


def read_confirmation(spec: SweepSpec, paths: SweepPaths) -> Confirmation | None:
    """Returns what the runs over seeds say so far; None where there were none.

    Raises:
        ModelError: what a run said of the images is damaged.
    """
    if not paths.seeds.exists():
        return None
    # Here, as help must be there where Optuna is not installed.
    from sweeper.search import open_ledger, seed_spec, storage_url

    plan = SeedPlan.model_validate_json(paths.seeds.read_bytes())
    records = open_ledger(seed_spec(spec, plan), storage_url(spec, paths), create=False).records()
    found = confirmation_of(
        plan,
        records,
        spec.search.objective,
        lambda trial, seed: read_predictions(paths.trial(trial).seed(seed).predictions),
    )
    if not paths.test.exists():
        return found
    score = HeldOutScore.model_validate_json(paths.test.read_bytes())
    return with_test(found, score, read_predictions(paths.test_predictions))


def sentences(found: Confirmation) -> Iterator[str]:
    """Yields what was found out, in words."""
    metric = METRICS[found.objective]
    if found.duel is not None:
        yield _verdict(found.duel, metric)
    if not found.finished:
        yield "Runs are missing; `sweeper confirm` goes on."
    if found.test is not None:
        value = found.test.metrics.get(found.objective)
        told = "" if value is None else f" {metric.shown(value)}, 95 % {span_of(found.test_interval, metric.format)}"
        yield f"Held-out test, used once, for trial {found.test.trial}:{told} on {found.test.images} images."


def _verdict(duel: Duel, metric: Metric) -> str:
    verdict = "beats" if duel.is_clear else "is not told from"
    span = "no spread to judge by" if duel.interval is None else f"95 % {_signed(duel.interval, metric.format)}"
    over = [f"over {duel.seeds} seeds {span}"]
    if duel.p_value is not None:
        over.append(f"p = {duel.p_value:.2g}")
    if duel.image_interval is not None:
        over.append(f"over the images 95 % {_signed(duel.image_interval, metric.format)}")
    difference = format(duel.difference, f"+{metric.format}")
    names, shares = f"Trial {duel.winner} {verdict} trial {duel.runner_up}", "; ".join(over)
    return f"{names}: {metric.title} better by {difference} ({shares})."


def span_of(interval: tuple[float, float] | None, spec: str) -> str:
    """Returns an interval as text, each end in a format."""
    return "-" if interval is None else "-".join(format(edge, spec) for edge in interval)


def _signed(interval: tuple[float, float], spec: str) -> str:
    return " to ".join(f"{edge:+{spec}}" for edge in interval)

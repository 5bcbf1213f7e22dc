"""`sweeper metrics`: a sweep's state on a page that Prometheus reads."""

from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeper.cli import options
from sweeper.cli.status import status_at
from sweeper.errors import InputError
from sweeper.folder import find_sweep, workspace_at
from sweeper.records import METRICS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from sweeper.paths import SweepPaths


class SweepCollector:
    """Reads the sweep anew each time that Prometheus asks, as `sweeper status` does.

    Beside the driver, not in it: it answers also while no driver runs, which is what one wants to be told of.
    """

    def __init__(self, paths: SweepPaths) -> None:
        self._paths = paths

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics that `docs/running.md` lists."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        status = status_at(self._paths)
        numbers = (
            (GaugeMetricFamily, "driver_up", "1 while a driver works on the sweep.", status.alive),
            (GaugeMetricFamily, "trials_asked", "Trials that the finished sweep will have.", status.total),
            (CounterMetricFamily, "epochs", "Epochs finished; its rate is the sweep's speed.", status.spent.epochs),
            (
                CounterMetricFamily,
                "gpu_hours",
                "Training and evaluation, each trial times its GPUs.",
                status.spent.gpu_hours,
            ),
            (CounterMetricFamily, "hours", "On the clock, pauses between runs left out.", status.spent.hours),
        )
        for kind, name, text, value in numbers:
            yield _family(kind(f"sweeper_{name}", text, labels=["sweep"]), [((), value)], status.name)
        states = [((state.value,), count) for state, count in status.counts.items()]
        trials = GaugeMetricFamily("sweeper_trials", "Trials by state.", labels=["sweep", "state"])
        yield _family(trials, states, status.name)
        reasons = [((why,), count) for why, count in Counter(one.why for one in status.waiting).items()]
        queue = GaugeMetricFamily(
            "sweeper_queue", "Trials that could run, by what they wait for.", labels=["sweep", "why"]
        )
        yield _family(queue, reasons, status.name)
        if status.best is not None:
            best = [((name,), status.best.best.value(name)) for name in METRICS]
            family = GaugeMetricFamily("sweeper_best", "Of the best trial.", labels=["sweep", "metric"])
            yield _family(family, best, status.name)


def _family(family: Metric, values: Iterable[tuple[tuple[str, ...], float]], sweep: str) -> Metric:
    for labels, value in values:
        if math.isnan(value):  # not measured
            continue
        family.add_metric([sweep, *labels], float(value))  # type: ignore[attr-defined] # each kind has its own
    return family


@click.command("metrics")
@options.sweep_name
@options.root
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="0 takes any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; anybody there can read.")
def command(sweep: str, root: Path | None, port: int, host: str) -> None:
    """Serve the state of SWEEP to Prometheus until Ctrl-C, whether a driver runs or not."""
    # Here, as help must be there where it is not installed.
    from prometheus_client import CollectorRegistry, start_http_server

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    registry = CollectorRegistry()
    paths = find_sweep(workspace_at(root), sweep)
    registry.register(SweepCollector(paths))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise InputError(f"Cannot listen on {host}:{port}: {error.strerror}; choose another `--port`.") from error
    click.echo(f"The metrics of {paths.root.name} are at http://{host}:{server.server_port}/metrics (Ctrl-C ends it).")
    try:
        thread.join()
    finally:
        server.shutdown()

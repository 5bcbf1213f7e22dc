"""`sweeper metrics`: the page that Prometheus reads, on a sweep made by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from sweeper.cli.metrics import SweepCollector
from sweeper.records import Spent
from tests.unit.answers import made_sweep
from tests.unit.cli.conftest import Answer

Sweeper = Callable[..., Answer]
Labels = tuple[tuple[str, str], ...]


def scraped(collector: SweepCollector) -> dict[tuple[str, Labels], float]:
    """What a real page says, by name and labels."""
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
            page = answer.read().decode()
    finally:
        server.shutdown()
        thread.join()
    families = text_string_to_metric_families(page)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_it_says_where_the_sweep_stands_also_without_a_driver(tmp_path: Path) -> None:
    _, paths, ledger = made_sweep(tmp_path / "sweeps", [range(60), range(20)])
    ledger.note_spent(Spent(epochs=7, gpu_hours=1.5, hours=2.0))
    page = scraped(SweepCollector(paths))
    sweep = ("sweep", "made")
    assert page["sweeper_driver_up", (sweep,)] == 0
    assert page["sweeper_trials", (("state", "complete"), sweep)] == 2
    assert page["sweeper_trials", (("state", "failed"), sweep)] == 0
    assert page["sweeper_epochs_total", (sweep,)] == 7
    assert page["sweeper_gpu_hours_total", (sweep,)] == 1.5
    assert page["sweeper_best", (("metric", "top1"), sweep)] == 0.9


def test_a_port_that_is_taken_is_told(sweeper: Sweeper) -> None:
    made_sweep(Path("sweeps"), [range(60)])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = sweeper("metrics", "made", "--port", str(port))
    assert answer.code == 2
    assert (
        answer.err == f"sweeper: Cannot listen on 127.0.0.1:{port}: Address already in use; choose another `--port`.\n"
    )

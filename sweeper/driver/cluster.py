"""Ray itself: started on this machine, or joined, and what it can give each trial."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psutil
import ray

from sweeper.driver.drain import draining_nodes
from sweeper.errors import EngineError
from sweeper.planning.share import Share, share_on, slots_on
from sweeper.spec.resources import ResourcesSpec

_LOG = logging.getLogger(__name__)
_TOO_SLOW: Final = "timed out during startup"
_END_SECONDS: Final = 10.0
_OBJECT_STORE_BYTES: Final = 128 * 2**20
"""Trials exchange a few numbers an epoch; by default Ray would take a third of the memory."""


@contextmanager
def connected() -> Iterator[None]:
    """Joins the cluster that `RAY_ADDRESS` names, or runs a Ray of this sweep's own on loopback.

    A Ray that this process has started already is used and left running.

    Raises:
        EngineError: the cluster cannot be reached, or Ray does not start.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_local()
    except Exception as error:
        # All of them: Ray raises the bare class where a busy machine starts it too slowly.
        where = f"the Ray cluster at `{address}`" if address else "a local Ray"
        hint = " (a cluster with token authentication needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too)"
        raise EngineError(
            f"Cannot start the sweep on {where}: {str(error).splitlines()[0].rstrip('.')}{hint if address else ''}."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def own_ray_is_gone() -> bool:
    """Whether the Ray that this sweep runs on this machine has no node any more, as its raylet died.

    A cluster that was joined may get another node; a Ray of one's own does not.
    """
    return not os.environ.get("RAY_ADDRESS") and not any(node["Alive"] for node in ray.nodes())


def start_again() -> None:
    """Starts another Ray of this process's own in the place of one whose node died.

    Raises:
        EngineError: it does not start.
    """
    ray.shutdown()
    try:
        _start_local()
    except Exception as error:  # all of them, as in `connected`
        raise EngineError(
            f"Ray died and does not start again: {str(error).splitlines()[0].rstrip('.')}; `sweeper resume` goes on."
        ) from error


def _start_local() -> None:
    """Starts a Ray of this process's own; on a busy machine in more than one try.

    Ray gives its own node 30 s, whatever the machine, and leaves the processes of a try that took longer behind.
    """
    before = set(psutil.Process().children(recursive=True))
    for last in (False, False, True):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
                num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            )
        except Exception as error:
            ray.shutdown()
            _end(set(psutil.Process().children(recursive=True)) - before)
            if last or _TOO_SLOW not in str(error):
                raise
            _LOG.warning("Ray did not start within its 30 seconds; trying again.")
        else:
            return


def _end(processes: set[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_END_SECONDS)


def share_for(resources: ResourcesSpec) -> Share:
    """Settles what each trial gets.

    Raises:
        ResourceError: no node has as much as one trial asks for.
    """
    return share_on(_nodes(), resources, where=_where())


def slots_for(share: Share, resources: ResourcesSpec) -> int:
    """Returns how many trials run at once on what the cluster has now; at least one."""
    return slots_on(_nodes(), share, resources)


def _nodes() -> list[Share]:
    """Returns what each node has that is alive and not about to go."""
    draining = draining_nodes()
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
    return [Share(cpus=r.get("CPU", 0.0), gpus=r.get("GPU", 0.0)) for r in resources]


def _where() -> str:
    address = os.environ.get("RAY_ADDRESS")
    return f"the cluster at `{address}`" if address else "this machine"

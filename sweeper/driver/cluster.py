"""Ray itself: started on this machine, or joined, and what it can give each trial."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psutil
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.driver.drain import draining_nodes
from sweeper.errors import EngineError
from sweeper.planning.share import Share, share_on, slots_on
from sweeper.spec.resources import ResourcesSpec
from sweeper.trial.memory import total_mb

_LOG = logging.getLogger(__name__)
_TOO_SLOW: Final = "timed out during startup"
_ASK_SECONDS: Final = 30.0
_KIND: Final = "accelerator_type:"
"""What precedes the name of an accelerator type among a node's resources."""
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
    return [has for _, has in _alive()]


def _alive() -> list[tuple[dict[str, Any], Share]]:
    draining = draining_nodes()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]
    return [(node, _has(node["Resources"])) for node in nodes]


def _has(resources: dict[str, float]) -> Share:
    kinds = frozenset(name.removeprefix(_KIND) for name in resources if name.startswith(_KIND))
    return Share(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0), kinds=kinds)


def requested(share: Share) -> dict[str, float]:
    """Returns what Tune asks the cluster for, for one trial."""
    return {"cpu": share.cpus, "gpu": share.gpus} | kinds_requested(share)


def kinds_requested(share: Share) -> dict[str, float]:
    """Returns Ray's own way to ask for a kind: a thousandth of a resource of which each such node has one."""
    return {f"{_KIND}{kind}": 0.001 for kind in sorted(share.kinds)}


def gpu_mb_for(share: Share, resources: ResourcesSpec) -> float | None:
    """Returns the memory of the smallest GPU that a trial may get, in MiB, asked of the nodes that have one.

    None where trials are not to be packed, or a node does not answer within half a minute, as its GPUs are all in use.
    """
    if resources.gpus_per_trial != "auto" or not share.gpus:
        return None
    ids = [node["NodeID"] for node, has in _alive() if has.gpus >= 1 and share.kinds <= has.kinds]
    ask = ray.remote(num_cpus=0, num_gpus=0.001, max_calls=1)(_gpu_mb)
    asked = [ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote() for one in ids]
    try:
        found: list[float] = ray.get(asked, timeout=_ASK_SECONDS) if asked else []
    except ray.exceptions.RayError as error:
        _LOG.warning("The GPUs could not be asked for their memory: %s", error)
        for one in asked:
            ray.cancel(one, force=True)
        return None
    return min(found, default=0.0) or None


def _gpu_mb() -> float:
    """Returns the memory of the smallest GPU of this machine, in MiB; 0 without CUDA."""
    count = torch.cuda.device_count()
    return min((total_mb(torch.device("cuda", index)) for index in range(count)), default=0.0)


def _where() -> str:
    address = os.environ.get("RAY_ADDRESS")
    return f"the cluster at `{address}`" if address else "this machine"

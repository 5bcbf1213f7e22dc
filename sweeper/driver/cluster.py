"""Ray itself: started on this machine, or joined, and what it can give each trial."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from sweeper.driver.attempts import Share
from sweeper.errors import EngineError, ResourceError
from sweeper.spec.resources import ResourcesSpec

_OBJECT_STORE_BYTES = 128 * 2**20
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
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
                num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            )
    except Exception as error:
        # All of them: Ray raises the bare class where a busy machine starts it too slowly.
        where = f"the Ray cluster at `{address}`" if address else "a local Ray"
        hint = " (a cluster with token authentication needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too)"
        raise EngineError(
            f"Cannot start the sweep on {where}: {str(error).splitlines()[0]}{hint if address else ''}."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def share_for(resources: ResourcesSpec) -> Share:
    """Settles what each trial gets.

    Raises:
        ResourceError: no node has as much as one trial asks for.
    """
    nodes = _nodes()
    gpus = resources.gpus_per_trial
    share = Share(
        cpus=resources.cpus_per_trial, gpus=float(any(node.gpus >= 1 for node in nodes)) if gpus == "auto" else gpus
    )
    if share.gpus > 1 and share.gpus != int(share.gpus):
        raise ResourceError(
            f"A trial takes a fraction of one GPU or whole GPUs, but `gpus_per_trial` is `{share.gpus:g}`."
        )
    if not any(node.gpus >= share.gpus for node in nodes):
        raise ResourceError(
            f"Each trial asks for {share.gpus:g} GPU, but there is none free to give: {_what_there_is(nodes)}; "
            "set `resources.gpus_per_trial: 0` to train on CPUs."
        )
    if not any(node.cpus >= share.cpus and node.gpus >= share.gpus for node in nodes):
        raise ResourceError(
            f"Each trial asks for {share.cpus:g} CPUs, but {_what_there_is(nodes)}; lower `resources.cpus_per_trial`."
        )
    return share


def slots_for(share: Share, resources: ResourcesSpec) -> int:
    """Returns how many trials run at once on what the cluster has now; at least one."""
    slots = sum(_fit(node, share) for node in _nodes())
    return max(1, min(slots, resources.max_concurrent or slots))


def _fit(node: Share, share: Share) -> int:
    """Returns how many trials fit on one node."""
    by_cpus = int(node.cpus / share.cpus + 1e-9)
    if not share.gpus:
        return by_cpus
    # Ray packs fractions within one GPU and never across two.
    by_gpus = int(node.gpus) * int(1 / share.gpus + 1e-9) if share.gpus < 1 else int(node.gpus / share.gpus)
    return min(by_cpus, by_gpus)


def _nodes() -> list[Share]:
    """Returns what each node that is alive has."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Share(cpus=r.get("CPU", 0.0), gpus=r.get("GPU", 0.0)) for r in resources]


def _what_there_is(nodes: list[Share]) -> str:
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    machine = f"the largest of {len(nodes)} nodes" if len(nodes) > 1 else _where()
    return f"{machine} has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs"


def _where() -> str:
    address = os.environ.get("RAY_ADDRESS")
    return f"the cluster at `{address}`" if address else "this machine"

"""Nodes that are about to go: Ray knows of a spot instance's notice, of a pod that is deleted, of `ray drain-node`."""

from __future__ import annotations

import threading
from typing import Final

import ray
import ray._private.state  # Ray has no public way to ask; its own trainer asks like this

_LOOK_EVERY_SECONDS: Final = 2.0


def draining_nodes() -> frozenset[str]:
    """Returns the ids of the nodes that Ray takes no new work to."""
    return frozenset(ray._private.state.state.get_draining_nodes())


def watch_for_drain(leave: threading.Event) -> None:
    """Sets `leave` once this process's node is about to go; looks every two seconds, in a thread, while Ray runs."""
    if not ray.is_initialized():
        return
    node = ray.get_runtime_context().get_node_id()
    threading.Thread(target=_watch, args=(node, leave), name="sweeper-drain", daemon=True).start()


def _watch(node: str, leave: threading.Event) -> None:
    while ray.is_initialized() and not leave.wait(_LOOK_EVERY_SECONDS):
        try:
            draining = node in draining_nodes()
        except (ray.exceptions.RayError, RuntimeError, OSError):  # the cluster's head is away for a moment
            continue
        if draining:
            leave.set()

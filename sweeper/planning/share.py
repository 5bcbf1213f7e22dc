"""What one trial gets of a machine, and how many trials run at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.errors import ResourceError
from sweeper.spec.resources import ResourcesSpec


@dataclass(frozen=True)
class Share:
    """CPU cores and GPUs: of one trial, or of one node."""

    cpus: float
    gpus: float
    kinds: frozenset[str] = frozenset()
    """Accelerator types as Ray calls them: those of the node's GPUs, or those that a trial must have."""

    @property
    def device(self) -> str:
        """The device a worker computes on; Ray shows it only its own GPUs."""
        return "cuda:0" if self.gpus > 0 else "cpu"

    @property
    def threads(self) -> int:
        """Threads a worker computes with."""
        return max(1, int(self.cpus))


def share_on(nodes: Sequence[Share], resources: ResourcesSpec, *, where: str) -> Share:
    """Settles what each trial gets.

    Args:
        nodes: what each machine has; at least one.
        resources: what is asked for a trial.
        where: what the machines are called in a message, where there is one: `this machine`.

    Raises:
        ResourceError: no node has as much as one trial asks for, and none is to come.
    """
    gpus = resources.gpus_per_trial
    if resources.scale_to and gpus == "auto":
        raise ResourceError(
            "Machines that are yet to come cannot be asked for their GPUs: with `resources.scale_to`, "
            "`resources.gpus_per_trial` must be a number, but is `auto`."
        )
    kind = resources.accelerator_type
    share = Share(
        cpus=resources.cpus_per_trial,
        gpus=float(kind is not None or any(node.gpus >= 1 for node in nodes)) if gpus == "auto" else gpus,
        kinds=frozenset() if kind is None else frozenset({kind}),
    )
    if kind is not None and not share.gpus:
        raise ResourceError(
            f"`resources.accelerator_type` is a kind of GPU, `{kind}`, but `gpus_per_trial` is `0`; leave one out."
        )
    if share.gpus > 1 and share.gpus != int(share.gpus):
        raise ResourceError(
            f"A trial takes a fraction of one GPU or whole GPUs, but `gpus_per_trial` is `{share.gpus:g}`."
        )
    if resources.scale_to:
        return share
    if not any(share.kinds <= node.kinds for node in nodes):
        there = sorted({kind for node in nodes for kind in node.kinds})
        raise ResourceError(
            f"Each trial asks for a GPU of the kind `{kind}` (`resources.accelerator_type`), but {where} has "
            f"{'none' if not there else 'only ' + ', '.join(f'`{name}`' for name in there)}."
        )
    nodes = [node for node in nodes if share.kinds <= node.kinds]
    if not any(node.gpus >= share.gpus for node in nodes):
        raise ResourceError(
            f"Each trial asks for {share.gpus:g} GPU, but there is none free to give: {_what_there_is(nodes, where)}; "
            "set `resources.gpus_per_trial: 0` to train on CPUs."
        )
    if not any(node.cpus >= share.cpus and node.gpus >= share.gpus for node in nodes):
        raise ResourceError(
            f"Each trial asks for {share.cpus:g} CPUs, but {_what_there_is(nodes, where)}; "
            "lower `resources.cpus_per_trial`."
        )
    return share


def slots_on(nodes: Sequence[Share], share: Share, resources: ResourcesSpec) -> int:
    """Returns how many trials run at once, or wait for a machine that is asked for; at least one."""
    slots = max(sum(_fit(node, share) for node in nodes), resources.scale_to or 0)
    return max(1, min(slots, resources.max_concurrent or slots))


def _fit(node: Share, share: Share) -> int:
    """Returns how many trials fit on one node."""
    if not share.kinds <= node.kinds:
        return 0
    by_cpus = int(node.cpus / share.cpus + 1e-9)
    if not share.gpus:
        return by_cpus
    # Ray packs fractions within one GPU and never across two.
    by_gpus = int(node.gpus) * int(1 / share.gpus + 1e-9) if share.gpus < 1 else int(node.gpus / share.gpus)
    return min(by_cpus, by_gpus)


def _what_there_is(nodes: Sequence[Share], where: str) -> str:
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    machine = f"the largest of {len(nodes)} nodes" if len(nodes) > 1 else where
    return f"{machine} has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs"

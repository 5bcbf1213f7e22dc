"""What a trial gets, and how many run at once."""

from __future__ import annotations

import pytest

from sweeper.errors import ResourceError
from sweeper.planning.share import Share, share_on, slots_on
from sweeper.spec.resources import ResourcesSpec

HEAD = Share(cpus=0, gpus=0)
WORKER = Share(cpus=8, gpus=1)


def test_a_cluster_that_grows_may_have_no_machine_yet() -> None:
    growing = ResourcesSpec(cpus_per_trial=4, gpus_per_trial=0.5, scale_to=6)
    share = share_on([HEAD], growing, where="the cluster")
    assert share == Share(cpus=4, gpus=0.5)
    assert slots_on([HEAD], share, growing) == 6
    assert slots_on([HEAD] + 4 * [WORKER], share, growing) == 8


def test_a_cluster_that_does_not_grow_must_have_one() -> None:
    with pytest.raises(
        ResourceError, match=r"but the cluster has 0 CPUs and 0 GPUs; lower `resources\.cpus_per_trial`"
    ):
        share_on([HEAD], ResourcesSpec(), where="the cluster")


def test_machines_that_are_yet_to_come_cannot_tell_of_their_gpus() -> None:
    with pytest.raises(ResourceError) as refused:
        share_on([HEAD], ResourcesSpec(scale_to=2), where="the cluster")
    assert str(refused.value) == (
        "Machines that are yet to come cannot be asked for their GPUs: with `resources.scale_to`, "
        "`resources.gpus_per_trial` must be a number, but is `auto`."
    )


OLD = Share(cpus=8, gpus=4, kinds=frozenset({"T4"}))
NEW = Share(cpus=8, gpus=2, kinds=frozenset({"H100"}))


def test_trials_of_a_kind_are_counted_on_its_nodes_alone() -> None:
    asked = ResourcesSpec(accelerator_type="H100")
    share = share_on([HEAD, OLD, NEW], asked, where="the cluster")
    assert share == Share(cpus=1, gpus=1, kinds=frozenset({"H100"}))
    assert slots_on([HEAD, OLD, NEW], share, asked) == 2
    assert slots_on([HEAD, OLD, NEW], share_on([OLD, NEW], ResourcesSpec(), where=""), ResourcesSpec()) == 6


@pytest.mark.parametrize(("nodes", "has"), [([HEAD, OLD, NEW], "only `H100`, `T4`"), ([HEAD], "none")])
def test_a_kind_that_no_node_has_is_refused_with_those_there_are(nodes: list[Share], has: str) -> None:
    with pytest.raises(ResourceError) as refused:
        share_on(nodes, ResourcesSpec(accelerator_type="A100"), where="the cluster")
    assert str(refused.value) == (
        f"Each trial asks for a GPU of the kind `A100` (`resources.accelerator_type`), but the cluster has {has}."
    )


def test_a_kind_of_gpu_for_trials_without_one_is_refused() -> None:
    with pytest.raises(ResourceError) as refused:
        share_on([OLD], ResourcesSpec(accelerator_type="T4", gpus_per_trial=0), where="the cluster")
    assert str(refused.value) == (
        "`resources.accelerator_type` is a kind of GPU, `T4`, but `gpus_per_trial` is `0`; leave one out."
    )


def test_a_kind_that_is_yet_to_come_is_waited_for() -> None:
    growing = ResourcesSpec(accelerator_type="H100", gpus_per_trial=1, scale_to=3)
    assert slots_on([HEAD, OLD], share_on([HEAD, OLD], growing, where="the cluster"), growing) == 3

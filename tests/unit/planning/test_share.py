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

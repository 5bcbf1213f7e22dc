"""The `resources:` section: what one trial gets of the machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from sweeper.spec.model import Section


def _word_or_number(value: Any) -> str:
    return "word" if isinstance(value, str) else "number"


GpuShare = Annotated[
    Annotated[Literal["auto"], Tag("word")] | Annotated[float, Field(ge=0), Tag("number")],
    Discriminator(_word_or_number),
]


AcceleratorType = Literal[
    "V100", "P100", "T4", "P4", "K80", "A10G", "L4", "L40S", "A100", "A100-40G", "A100-80G", "H100", "H200", "H20",
    "B200", "B300", "GB200", "GB300", "RTX-PRO-6000",
]  # fmt: skip
"""Ray's names of the GPUs that CUDA computes on."""


class ResourcesSpec(Section):
    """What each trial is given; how many run at once follows from it."""

    cpus_per_trial: float = Field(default=1, gt=0)
    """CPU cores; on a machine without a GPU also the number of threads a trial computes with."""
    gpus_per_trial: GpuShare = "auto"
    """GPUs: a fraction to share one, several to divide each batch among them; `auto` is 0 where there is no GPU.
    Elsewhere it is 1 for the first epoch of a configuration, and then the part of a GPU that its peak memory asks
    for."""
    accelerator_type: AcceleratorType | None = None
    """The kind of GPU to train on where a cluster has several, as Ray calls it; null takes any."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """Trials at once, where fewer than fit are wanted."""
    scale_to: int | None = Field(default=None, ge=1)
    """On a cluster that adds machines by itself: trials at once to ask them for; the sweep starts with none there."""
    retries: int = Field(default=2, ge=0)
    """How often a trial whose worker or node was lost is taken up again from its checkpoint."""
    stall_minutes: float | None = Field(default=30, gt=0)
    """A worker that has not finished a batch for so long hangs: it is ended and its trial taken up again, which counts
    among `retries`; null never ends one."""
    hours_per_trial: float | None = Field(default=None, gt=0)
    """A trial that has trained and evaluated for so long ends with the epoch it is in."""
    price_per_hour: float | None = Field(default=None, gt=0)
    """What an hour of all machines that run the sweep costs, in any currency; read by `plan` and `budget.money`."""

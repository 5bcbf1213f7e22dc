"""A first look at every backbone of a sweep, ranked, before the first trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import ray
from pydantic import BaseModel, ConfigDict

from sweeper.driver.cluster import kinds_requested
from sweeper.driver.observer import SweepObserver
from sweeper.errors import InputError
from sweeper.paths import CachePaths
from sweeper.planning.share import Share
from sweeper.records import BackboneLook
from sweeper.spec import SweepSpec, TrialConfig, resolve
from sweeper.trial.look import look_at

_SOFTNESS: Final = 0.2
"""A backbone that is so much worse, in accuracy, is chosen less often by a factor of e."""
_LEAST: Final = 0.25
"""No backbone is chosen less often than this, against the best: a linear probe is not fine-tuning."""

LookAt = Callable[[TrialConfig], BackboneLook]
"""Looks at the backbone of a trial."""


class FirstLook(BaseModel):
    """What the first look found."""

    model_config = ConfigDict(frozen=True)

    looks: tuple[BackboneLook, ...] = ()
    """Best first."""
    left_out: tuple[str, ...] = ()
    """A sentence for each backbone that was not looked at."""

    @property
    def ranking(self) -> tuple[str, ...]:
        """The backbones, the most promising first."""
        return tuple(look.backbone for look in self.looks)

    @property
    def weights(self) -> dict[str, float]:
        """How often each backbone that was looked at should be chosen; the best one has 1."""
        return {
            look.backbone: max(_LEAST, math.exp((look.top1 - self.looks[0].top1) / _SOFTNESS)) for look in self.looks
        }


def is_wanted(spec: SweepSpec) -> bool:
    """Whether `search.first_look` asks for one."""
    wanted = spec.search.first_look
    return wanted if wanted != "auto" else len(spec.backbones) > 1 and spec.search.sampler != "grid"


def first_look(spec: SweepSpec, look: LookAt, observer: SweepObserver) -> FirstLook:
    """Looks at each backbone of a sweep that has pretrained weights.

    Args:
        spec: the sweep; each backbone is looked at with the file's settings and its overrides.
        look: what looks, as `looking_here` or `looking_on_ray` returns it.
        observer: hears how far it is.
    """
    looks, left_out = [], []
    for done, backbone in enumerate(spec.backbones):
        observer.preparing("looking at backbones", done, len(spec.backbones))
        config = resolve(spec, {"backbone": backbone})
        if config.weights == "random":
            left_out.append(f"`{backbone}` has random weights; a first look would say nothing of it.")
            continue
        try:
            looks.append(look(config))
        except InputError as error:
            left_out.append(f"`{backbone}` could not be looked at: {error}")
    observer.preparing("looking at backbones", len(spec.backbones), len(spec.backbones))
    return FirstLook(looks=tuple(sorted(looks, key=lambda one: -one.top1)), left_out=tuple(left_out))


def looking_here(cache: CachePaths, *, threads: int) -> LookAt:
    """Looks in this process, on its first GPU where there is one."""
    return lambda config: look_at(config, device="auto", threads=threads, cache=cache)


def looking_on_ray(share: Share, cache: CachePaths) -> LookAt:
    """Looks where trials run, with a trial's share of the machine; the process ends with the look."""

    def look(config: TrialConfig) -> BackboneLook:
        gpus = min(share.gpus, 1.0)  # it is one process
        task = ray.remote(num_cpus=share.cpus, num_gpus=gpus, resources=kinds_requested(share), max_calls=1)(look_at)
        try:
            found: BackboneLook = ray.get(task.remote(config, device=share.device, threads=share.threads, cache=cache))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from error
            raise InputError(str(error.cause).splitlines()[0] if str(error.cause) else repr(error.cause)) from error
        except ray.exceptions.RayError as error:
            raise InputError(f"its worker was lost ({type(error).__name__})") from error
        return found

    return look


def sentences(found: FirstLook) -> Sequence[str]:
    """Returns what was found, a line a backbone."""
    lines = [
        f"first look: `{look.backbone}` {look.top1:.3f} (linear probe, {look.images} images, {look.seconds:.0f} s)"
        for look in found.looks
    ]
    return [*lines, *(f"first look: {reason}" for reason in found.left_out)]

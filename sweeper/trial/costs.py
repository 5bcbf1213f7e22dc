"""What running a model takes, whatever it was trained to: its size and its latency."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn.utils import parametrize

from sweeper.backbones import Backbone
from sweeper.backbones.lora import is_update
from sweeper.trial.device import Machine

_WARM_UPS: Final = 3
_PASSES: Final = 10
_SECONDS: Final = 0.5
"""After which no further pass is timed: a large model on a CPU takes long, and varies less."""


@dataclass(frozen=True)
class Costs:
    """The costs of one model, as `EpochMetrics` defines them."""

    parameters: int
    latency_ms: float


@torch.no_grad()
def measure_costs(backbone: Backbone, machine: Machine) -> Costs:
    """Measures a backbone as it will be used: one image at a time, low-rank updates merged in.

    The fastest pass counts: what trials beside this one take away is no property of the model.

    Args:
        backbone: on the machine's device; is put into eval mode.
        machine: gives device and number format.
    """
    model, size = backbone.model, backbone.image_size
    backbone.eval()
    image = torch.zeros(1, 3, size, size, device=machine.device).to(memory_format=torch.channels_last)
    metadata = (torch.zeros(1, 7, device=machine.device),) if backbone.takes_metadata else ()
    times: list[float] = []
    with parametrize.cached(), machine.autocast():
        for _ in range(_WARM_UPS + _PASSES):
            started = time.perf_counter()
            model(image, *metadata)
            machine.finish()
            times.append(time.perf_counter() - started)
            if len(times) > _WARM_UPS and sum(times) > _SECONDS:
                break
    parameters = sum(p.numel() for name, p in model.named_parameters() if not is_update(name))
    return Costs(parameters=parameters, latency_ms=1000 * min(times[_WARM_UPS:]))

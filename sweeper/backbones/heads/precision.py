"""Where a head must compute in float32 though the model runs in bf16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def in_float32(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocast off; the meta device, which computes nothing, has none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)

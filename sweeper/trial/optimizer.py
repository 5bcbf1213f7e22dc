"""An optimiser by timm's name over a backbone's own parameter groups."""

from __future__ import annotations

from typing import Final

from timm.optim import create_optimizer_v2, list_optimizers
from torch.optim import Optimizer

from sweeper.backbones import Backbone
from sweeper.errors import SpecError, nearest
from sweeper.spec.training import TrainSpec

# Left out: what needs a CUDA-only package of its own, and Hessians, which need a second backward pass.
OPTIMIZERS: Final[tuple[str, ...]] = tuple(list_optimizers(exclude_filters=["bnb*", "fused*", "adahessian"]))


def check_optimizer(name: str) -> None:
    """Refuses a name that no trial could use.

    Raises:
        SpecError: timm has no optimiser of that name that runs everywhere.
    """
    if name not in OPTIMIZERS:
        hint = nearest(name, OPTIMIZERS) or "; `adamw`, `sgd`, `lion` and `lamb` are some."
        raise SpecError(f"An optimizer must be one that timm knows, but is `{name}`{hint}")


def create_optimizer(backbone: Backbone, train: TrainSpec) -> Optimizer:
    """Creates the optimiser `train.optimizer` for the parameters of `backbone` that are trained.

    Each group carries its `lr_scale`; `CosineSchedule.apply` multiplies it in before every step.

    Raises:
        SpecError: timm has no optimiser of that name that runs everywhere.
    """
    check_optimizer(train.optimizer)
    optimizer: Optimizer = create_optimizer_v2(
        backbone.param_groups(train), opt=train.optimizer, lr=train.lr, weight_decay=0.0
    )
    return optimizer

"""The names by which `space`, `points`, `set` and `when` speak of a trial's settings."""

from __future__ import annotations

from typing import Any

from sweeper.errors import SpecError
from sweeper.spec.data import DigitsData, FolderData
from sweeper.spec.training import AugmentSpec, TrainSpec

_DATA_FIELDS = {name for model in (FolderData, DigitsData) for name in model.model_fields} - {
    # A trial must not change which images it is judged on.
    "source", "root", "val_fraction", "split_seed", "max_bad_fraction",
}  # fmt: skip


def setting_path(name: str) -> tuple[str, ...] | None:
    """Returns where in a TrialConfig the setting called `name` lives, None if there is no such setting.

    `lr` and `train.lr` are ("train", "lr"); `augment.mixup`, `data.image_size` and `backbone_args.<any>`
    go by their section; `backbone`, `weights` and `seed` stand alone.
    """
    head, _, rest = name.partition(".")
    if name in ("backbone", "weights", "seed"):
        return (name,)
    if name in TrainSpec.model_fields:
        return ("train", name)
    if (head == "train" and rest in TrainSpec.model_fields) or (head == "augment" and rest in AugmentSpec.model_fields):
        return (head, rest)
    if head == "data" and rest in _DATA_FIELDS:
        return (head, rest)
    if head == "backbone_args" and rest:
        return (head, *rest.split("."))
    return None


def setting_names() -> tuple[str, ...]:
    """Returns every name `setting_path` knows, but for the open-ended `backbone_args.<any>`."""
    sections = [f"augment.{field}" for field in AugmentSpec.model_fields] + [f"data.{field}" for field in _DATA_FIELDS]
    return ("backbone", "weights", "seed", *TrainSpec.model_fields, *sorted(sections))


def assign(settings: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sets the value at `path` in nested mappings, making those that are missing.

    Raises:
        SpecError: the path runs through a plain value.
    """
    for key in path[:-1]:
        settings = settings.setdefault(key, {})
        if not isinstance(settings, dict):
            raise SpecError(f"`{key}` is a plain value and has no `{path[-1]}`.")
    settings[path[-1]] = value

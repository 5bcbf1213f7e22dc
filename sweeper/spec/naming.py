"""The names by which `space`, `points`, `set` and `when` speak of a trial's settings."""

from __future__ import annotations

from typing import Any, get_args

from sweeper.errors import SpecError
from sweeper.spec.data import DataSpec
from sweeper.spec.head import HeadSpec
from sweeper.spec.training import AugmentSpec, FixresSpec, ProbeSpec, ProgressiveSpec, TrainSpec

_DATA_FIELDS = frozenset({"image_size", "store_size"})
_SHARED_DATA = {name for model in get_args(get_args(DataSpec)[0]) for name in model.model_fields} - _DATA_FIELDS
"""Fields of `data` that are the same for all trials: a trial must not change which images it is judged on."""
_PHASES = {
    "probe": frozenset(ProbeSpec.model_fields),
    "fixres": frozenset(FixresSpec.model_fields),
    "progressive": frozenset(ProgressiveSpec.model_fields),
}
_TRAIN_FIELDS = frozenset(TrainSpec.model_fields) - _PHASES.keys()
_ALONE = ("backbone", "weights", "seed", "backbone_args")
_SECTIONS = {
    "data": _DATA_FIELDS,
    "head": frozenset(HeadSpec.model_fields),
    "train": _TRAIN_FIELDS,
    "augment": frozenset(AugmentSpec.model_fields),
    "eval": frozenset({"tta"}),  # what the other fields change is what a metric means
}


def setting_path(name: str) -> tuple[str, ...] | None:
    """Returns where in a TrialConfig the setting called `name` lives, None if there is no such setting.

    `lr` and `train.lr` are ("train", "lr"), `probe.epochs` and `train.probe.epochs` are ("train", "probe",
    "epochs"); `augment.mixup`, `head.type`, `data.image_size` and `backbone_args.<any>` go by their section;
    `backbone`, `weights`, `seed` and the whole of `backbone_args` stand alone.
    """
    head, _, rest = name.partition(".")
    if name in _ALONE:
        return (name,)
    if name in _TRAIN_FIELDS:
        return ("train", name)
    if head == "train" and rest.partition(".")[0] in _PHASES:
        return setting_path(rest)
    if rest in _PHASES.get(head, ()):
        return ("train", head, rest)
    if rest in _SECTIONS.get(head, ()):
        return (head, rest)
    if head == "backbone_args" and rest:
        return (head, *rest.split("."))
    return None


def is_shared(name: str) -> bool:
    """Whether `name`, such as `data.split.seed`, is a field of the file that no trial can change."""
    head, _, rest = name.partition(".")
    return head == "data" and rest.partition(".")[0] in _SHARED_DATA


def setting_names() -> tuple[str, ...]:
    """Returns every name `setting_path` knows, but for the open-ended `backbone_args.<any>`."""
    sections = {**_SECTIONS, **_PHASES}
    dotted = [f"{section}.{field}" for section, fields in sections.items() for field in fields if section != "train"]
    return (*_ALONE, *sorted(_TRAIN_FIELDS), *sorted(dotted))


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

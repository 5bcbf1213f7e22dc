"""What may change in a sweep that has begun, and what must not: old and new trials have to stay comparable."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict

from sweeper.errors import SpecError
from sweeper.spec.document import Document
from sweeper.spec.load import dump_spec, spec_of
from sweeper.spec.search import HyperbandSpec
from sweeper.spec.sweep import SweepSpec

_MORE: Final = re.compile(r"^([^=]+)=\s*\+(\d+(?:\.\d+)?)\s*$")
"""`search.trials=+30`."""

_JUDGED: Final = "decides what trials are judged on, so that old and new results could not be compared"
_SETTLED: Final = "was settled when the sweep began and is not looked at again"
_IDENTITY: Final = "says which sweep this is"
_NEVER: Final = (
    ("data.image_size", None),
    ("data.store_size", None),
    ("data", _JUDGED),
    ("eval", _JUDGED),
    ("search.objective", "decides what trials are ranked by, and the search has learned by it"),
    ("search.prior", _SETTLED),
    ("search.first_look", _SETTLED),
    ("search.warm_start", _SETTLED),
    ("search.storage", _IDENTITY),
    ("checkpoints.remote", "says where running trials have what they go on from"),
    ("name", _IDENTITY),
    ("backbone_args", "builds other networks, which a trial's point could not tell apart"),
)
"""Keys and what lies below them, the first that fits; None where it is only the same for all trials."""
_FREE: Final = (
    "train.epochs", "space", "points", "search", "resources", "checkpoints", "tracking", "overrides.*.space",
)  # fmt: skip


class Change(BaseModel):
    """One key of a spec that is another than it was."""

    model_config = ConfigDict(frozen=True)

    key: str
    was: Any
    now: Any

    def __str__(self) -> str:
        """The key with both values, as the file would have them."""
        return f"`{self.key}` was `{_as_yaml(self.was)}`, is `{_as_yaml(self.now)}`"


def edited(spec: SweepSpec, assignments: Sequence[str]) -> SweepSpec:
    """Returns a sweep's spec with `--set` applied; `search.trials=+30` counts from what it was.

    Raises:
        SpecError: as `load_spec`.
    """
    document = Document.parse(dump_spec(spec), name="resolved.yaml")
    for assignment in assignments:
        document.override(_counted(document, assignment))
    return spec_of(document)


def _counted(document: Document, assignment: str) -> str:
    more = _MORE.match(assignment)
    if more is None:
        return assignment
    value: Any = document.values
    for key in more[1].strip().split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"--set {assignment}: `+` counts from a number, but `{more[1]}` was `{value}`.")
    added = float(more[2])
    return f"{more[1]}={value + (int(added) if added.is_integer() else added)}"


def changes(before: SweepSpec, now: SweepSpec) -> tuple[Change, ...]:
    """Returns what differs, key by key, in the order of the file."""
    old, new = (_flat(one.model_dump(mode="json", by_alias=True)) for one in (before, now))
    keys = [*old, *(key for key in new if key not in old)]
    return tuple(Change(key=key, was=old.get(key), now=new.get(key)) for key in keys if old.get(key) != new.get(key))


def require_comparable(before: SweepSpec, now: SweepSpec, *, allowed: Collection[str] = ()) -> None:
    """Refuses changes after which old and new trials could not be compared.

    Args:
        before: the spec so far.
        now: the spec that is asked for.
        allowed: keys of settings that are the same for all trials and may change all the same.

    Raises:
        SpecError: with one line for each key that cannot change.
    """
    lines = [line for change in changes(before, now) if (line := _refusal(change, before, now, allowed)) is not None]
    if lines:
        raise SpecError("\n".join(lines))


def _refusal(change: Change, before: SweepSpec, now: SweepSpec, allowed: Collection[str]) -> str | None:
    was, asked = _as_yaml(change.was), _as_yaml(change.now)
    said = f"`{change.key}` cannot change in a sweep that has begun (it was `{was}`, not `{asked}`)"
    why = next((why for key, why in _NEVER if _is_below(change.key, key)), None)
    if why is not None:
        return f"{said}: it {why}. Start another sweep; `search.warm_start` lets it learn from this one."
    if change.key == "search.sampler" and "grid" in (change.was, change.now):
        return f"{said}: the points of a grid are queued from the start. Start another sweep."
    brackets = [isinstance(one.search.stop_rule, HyperbandSpec) for one in (before, now)]
    if all(brackets) and (change.key == "train.epochs" or change.key.startswith("search.stop")):
        return f"{said}: Hyperband's brackets follow from it. Set `search.stop=asha` as well."
    if any(_is_below(change.key, key) for key in _FREE) or change.key in allowed:
        return None
    return (
        f"{said}: it is the same for all trials, which would differ in more than their points; "
        f"`--allow {change.key}` changes it all the same, and the leaderboard shows it for each trial."
    )


def _as_yaml(value: Any) -> str:
    """Returns a value on one line; of a range only what is set."""
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if one not in (None, {}, [])}
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _is_below(key: str, pattern: str) -> bool:
    parts, wanted = key.split("."), pattern.split(".")
    if "*" in wanted:  # the pattern of an override may hold dots itself
        return parts[0] == wanted[0] and wanted[-1] in parts[1:]
    return parts[: len(wanted)] == wanted


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Returns the values by their dotted keys; one of `space` or a list is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        below = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value and path.rpartition(".")[2] not in ("space", "set"):
            found |= _flat(value, below)
        else:
            found[below] = value
    return found

"""What a sweep was before each edit, so that its old trials stay what they are.

An edit changes the spec under trials that exist. Each old trial keeps the settings that it had, as part of its point
(`epochs: 10` of a sweep whose trials have 30 now); so resolving an old trial's point against the new spec gives the
very settings it was trained with. And Optuna refuses other choices under a known name, so that such a parameter gets a
new name in the study (`augment.policy#2`); nobody outside of this package sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.errors import SpecError
from sweeper.records import ParamValue, TrialRecord
from sweeper.search.point import distribution
from sweeper.spec.naming import setting_names, setting_path
from sweeper.spec.resolve import resolve, setting_of
from sweeper.spec.space import Fixed
from sweeper.spec.sweep import SweepSpec
from sweeper.spec.trial import TrialConfig

_GENERATION: Final = "#"


class Kept(BaseModel):
    """Settings that some trials had and that their points did not say."""

    model_config = ConfigDict(frozen=True)

    trials: tuple[int, ...]
    settings: dict[str, ParamValue]


class Edit(BaseModel):
    """One change of the spec, as the study keeps it."""

    model_config = ConfigDict(frozen=True)

    kept: tuple[Kept, ...]
    generations: dict[str, int]
    """By the names of parameters with their scopes: how often their values changed in kind, all edits together."""
    again: dict[int, int] = {}
    """Trials whose points run again, and the numbers under which they do."""


class Editions:
    """All edits of a sweep, in order; without any, nothing differs."""

    def __init__(self, edits: Sequence[Edit] = ()) -> None:
        self.edits: Final = tuple(edits)
        self._kept: dict[int, dict[str, ParamValue]] = {}
        for edit in self.edits:
            for one in edit.kept:
                for number in one.trials:
                    # What the first edit after a trial changed is what the trial had.
                    self._kept[number] = {**one.settings, **self._kept.get(number, {})}
        self._generations = self.edits[-1].generations if self.edits else {}
        self.replaced: Final = frozenset(number for edit in self.edits for number in edit.again)
        """Trials whose points run again under another number."""

    @classmethod
    def of(cls, attribute: Sequence[Mapping[str, Any]] | None) -> Editions:
        """Reads what `to_attribute` gave."""
        return cls([Edit.model_validate(edit) for edit in attribute or ()])

    def to_attribute(self) -> list[dict[str, Any]]:
        """Returns the edits as plain values."""
        return [edit.model_dump(mode="json") for edit in self.edits]

    def kept(self, number: int) -> Mapping[str, ParamValue]:
        """Returns what trial `number` had besides its point, where later trials differ."""
        return self._kept.get(number, {})

    def epochs(self, number: int) -> ParamValue:
        """Returns the epochs of a trial that are not those of the present spec; None where they are."""
        return self.kept(number).get("epochs")

    def name(self, scoped_name: str) -> str:
        """Returns the name of a parameter in the study."""
        generation = self._generations.get(scoped_name, 1)
        return scoped_name if generation == 1 else f"{scoped_name}{_GENERATION}{generation}"

    def after(
        self, before: SweepSpec, now: SweepSpec, records: Sequence[TrialRecord], *, again: Mapping[int, int]
    ) -> Editions:
        """Returns these and one edit more.

        Args:
            before: the spec so far.
            now: the spec from now on.
            records: the trials that have a point.
            again: trials whose points run again, and the numbers they get.
        """
        groups: dict[tuple[tuple[str, ParamValue], ...], list[int]] = {}
        for record in records:
            settings = tuple(sorted(_differences(before, now, record.params).items()))
            if settings:
                groups.setdefault(settings, []).append(record.number)
        kept = tuple(Kept(trials=tuple(numbers), settings=dict(settings)) for settings, numbers in groups.items())
        old, new = _distributions(before), _distributions(now)
        generations = dict(self._generations)
        for name in old.keys() & new.keys():
            if not _alike(old[name], new[name]):
                generations[name] = generations.get(name, 1) + 1
        return Editions([*self.edits, Edit(kept=kept, generations=generations, again=dict(again))])


def renamed(given: Mapping[str, ParamValue], before: SweepSpec, old: Editions, new: Editions) -> dict[str, ParamValue]:
    """Returns the values that a queued trial was given under their present names."""
    names = {
        old.name(scoped.scoped_name): new.name(scoped.scoped_name)
        for backbone in before.backbones
        for scoped in before.parameters(backbone)
    }
    return {names.get(name, name): value for name, value in given.items()}


def _differences(before: SweepSpec, now: SweepSpec, params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Returns the settings of a trial that its point does not say and the new spec says otherwise, or searches."""
    old = resolve(before, params)
    try:
        new: TrialConfig | None = resolve(now, params)
    except (ValidationError, SpecError):  # what it had does not go with what is new: all of it is kept
        new = None
    searched = {setting_path(s.name): s.name for s in now.parameters(now.backbone_of(params))}
    paths = {setting_path(name) for name in params}
    found: dict[str, ParamValue] = {}
    for name in setting_names():
        path = setting_path(name)
        value = setting_of(old, path)
        differs = path in searched or new is None or setting_of(new, path) != value
        if path not in paths and differs and (value is None or isinstance(value, (str, int, float, bool))):
            found[searched.get(path, name)] = value
    return found


def _distributions(spec: SweepSpec) -> dict[str, BaseDistribution]:
    return {
        scoped.scoped_name: distribution(scoped.parameter)
        for backbone in spec.backbones
        for scoped in spec.parameters(backbone)
        if not isinstance(scoped.parameter, Fixed)
    }


def _alike(old: BaseDistribution, new: BaseDistribution) -> bool:
    """Whether Optuna takes both under one name."""
    try:
        check_distribution_compatibility(old, new)
    except ValueError:
        return False
    return True

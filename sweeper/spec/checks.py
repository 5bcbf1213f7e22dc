"""Rules between parts of a search space file; each is a small function that yields what breaks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from pydantic import ValidationError

from sweeper.errors import SpecError, nearest
from sweeper.records import METRICS, ParamValue
from sweeper.spec.document import Keys
from sweeper.spec.naming import is_shared, setting_names, setting_path
from sweeper.spec.resolve import resolve
from sweeper.spec.search import HyperbandSpec
from sweeper.spec.secrets import secrets_in
from sweeper.spec.sentences import sentence, untagged
from sweeper.spec.space import LogUniform, Parameter, Uniform
from sweeper.spec.sweep import SweepSpec

Problem = tuple[Keys, str]
"""A key path and the sentence that says what is wrong there."""


def find_problems(spec: SweepSpec) -> list[Problem]:
    """Returns everything wrong with a spec whose parts are right one by one."""
    rules = (_secrets, _names, _backbone, _conditions, _grid, _rungs, _money, _objectives)
    problems = [problem for rule in rules for problem in rule(spec)]
    # Values can only be tried in their settings once all names are right.
    return problems or [*_values(spec), *_points(spec)] or [*_phases(spec), *_stream(spec)]


def require_valid(spec: SweepSpec) -> None:
    """Refuses a spec built in Python that breaks a rule between its parts.

    Raises:
        SpecError: with one line a problem.
    """
    if problems := find_problems(spec):
        raise SpecError("\n".join(f"{'.'.join(map(str, path))}: {message}" for path, message in problems))


def _secrets(spec: SweepSpec) -> Iterator[Problem]:
    yield from secrets_in(spec.model_dump(mode="json", by_alias=True))


def _spaces(spec: SweepSpec) -> Iterator[tuple[Keys, str | None, Mapping[str, Parameter]]]:
    yield ("space",), None, spec.space
    for pattern, override in spec.overrides.items():
        yield ("overrides", pattern, "space"), pattern, override.space


def _names(spec: SweepSpec) -> Iterator[Problem]:
    places = [(path, name) for path, _, space in _spaces(spec) for name in space]
    places += [(("overrides", p, "set"), name) for p, override in spec.overrides.items() for name in override.set]
    places += [(("points", index), name) for index, point in enumerate(spec.points) for name in point]
    for path, name in places:
        if is_shared(name):
            yield (
                (*path, name),
                f"`{name}` decides which images trials are judged on and is one for all of them; set it under `data`.",
            )
        elif setting_path(name) is None:
            yield (*path, name), f"`{name}` is not a setting{nearest(name, setting_names()) or '.'}"
        elif path[0] == "overrides" and name == "backbone":
            yield (*path, name), "an override is chosen by the backbone and cannot change it."
    for path, _, space in _spaces(spec):
        yield from _twice(path, space)


def _twice(path: Keys, names: Iterable[str]) -> Iterator[Problem]:
    seen: dict[tuple[str, ...] | None, str] = {}
    for name in names:
        first = seen.setdefault(setting_path(name), name)
        if first != name:
            yield (*path, name), f"`{name}` and `{first}` are the same setting; keep one of them."


def _backbone(spec: SweepSpec) -> Iterator[Problem]:
    if "backbone" in spec.space and spec.backbone is not None:
        yield ("backbone",), "`backbone` stands in the file and in `space`; keep one of them."
    if "backbone" in spec.space and spec.space["backbone"].when:
        yield ("space", "backbone", "when"), "every trial has a backbone; it cannot have a condition."
    if not spec.backbones:
        yield ("backbone",), "a sweep needs `backbone: <timm model>` or a choice of backbones in `space`."
    for pattern in spec.overrides:
        if spec.backbones and not any(pattern in dict(spec.matching_overrides(name)) for name in spec.backbones):
            names = ", ".join(f"`{name}`" for name in spec.backbones)
            yield ("overrides", pattern), f"`{pattern}` matches none of the sweep's backbones: {names}."


def _conditions(spec: SweepSpec) -> Iterator[Problem]:
    for path, _, space in _spaces(spec):
        known = {**spec.space, **space}
        for name, parameter in space.items():
            for parent, allowed in parameter.when.items():
                at = (*path, name, "when", parent)
                if parent not in known:
                    yield (
                        at,
                        f"`when` names `{parent}`, which is not in the space{nearest(parent, known) or '.'}",
                    )
                elif bad := [value for value in allowed if not known[parent].contains(value)]:
                    yield at, f"`{parent}` can never be `{bad[0]}`, so `{name}` would never apply."
            if _depends_on_itself(name, known):
                yield (*path, name, "when"), f"`{name}` depends on itself through its conditions."


def _depends_on_itself(name: str, space: Mapping[str, Parameter]) -> bool:
    seen: set[str] = set()
    waiting = list(space[name].when)
    while waiting:
        parent = waiting.pop()
        if parent == name:
            return True
        if parent in space and parent not in seen:
            seen.add(parent)
            waiting.extend(space[parent].when)
    return False


def _rungs(spec: SweepSpec) -> Iterator[Problem]:
    rule = spec.search.stop_rule
    if isinstance(rule, HyperbandSpec) and rule.grace_epochs > spec.train.epochs:
        at = ("search", "stop", "hyperband", "grace_epochs")
        yield at, f"must be at most `train.epochs`, {spec.train.epochs}, but got `{rule.grace_epochs}`."


def _money(spec: SweepSpec) -> Iterator[Problem]:
    if spec.search.budget.money is not None and spec.resources.price_per_hour is None:
        yield ("search", "budget", "money"), "needs `resources.price_per_hour`, what an hour of your machines costs."


def _objectives(spec: SweepSpec) -> Iterator[Problem]:
    search = spec.search
    places: list[tuple[Keys, str]] = [(("search", "also", index), name) for index, name in enumerate(search.also)]
    places += [(("search", "constraints", name), name) for name in search.constraints]
    for path, name in places:
        if name not in METRICS:
            known = ", ".join(f"`{metric}`" for metric in METRICS)
            yield path, f"`{name}` is not a metric{nearest(name, METRICS) or f'; there are {known}.'}"
    if len({search.objective, *search.also}) <= len(search.also):
        yield ("search", "also"), "names metrics besides the objective, each once; leave out the repeated one."
    if search.also and search.sampler in ("tpe", "gp"):
        yield (
            ("search", "also"),
            f"trade-offs need `sampler: curves`; `{search.sampler}` would look at `{search.objective}` alone.",
        )
    if search.also and search.warm_start:
        yield ("search", "warm_start"), "earlier searches tell of one objective; leave out `also`, or the warm start."
    if search.also and search.patience:
        yield ("search", "patience"), "what is gained has one objective's unit; leave out `also`, or `patience`."


def _grid(spec: SweepSpec) -> Iterator[Problem]:
    if spec.search.sampler != "grid":
        return
    if spec.points:
        yield ("points",), "`sampler: grid` visits every point of the space; leave `points` out."
    for path, _, space in _spaces(spec):
        for name, parameter in space.items():
            if isinstance(parameter, (Uniform, LogUniform)):
                yield (
                    (*path, name),
                    f"`sampler: grid` needs finite parameters; list the values of `{name}` with `choice`.",
                )


def _values(spec: SweepSpec) -> Iterator[Problem]:
    """Tries the ends of every range, and every choice, in the settings they are meant for."""
    for backbone in spec.backbones:
        chosen: dict[str, ParamValue] = {"backbone": backbone}
        base = _rule_broken(spec, chosen)
        if base is not None:
            yield _set_by_override(spec, backbone, base[0]) or base[0], base[1]
            continue
        for scoped in spec.parameters(backbone):
            path: Keys = ("space",) if scoped.scope is None else ("overrides", scoped.scope, "space")
            for value in _probes(scoped.parameter):
                broken = _rule_broken(spec, {**chosen, scoped.name: value})
                if broken is not None:
                    yield (*path, scoped.name), broken[1]
                    break


def _probes(parameter: Parameter) -> tuple[ParamValue, ...]:
    """The ends of a range, and of a real one also a value within: a whole number is asked for somewhere else."""
    if isinstance(parameter, (Uniform, LogUniform)):
        low, high = parameter.ends
        return (low, high, low + (high - low) * 0.381966)
    return parameter.ends


def _phases(spec: SweepSpec) -> Iterator[Problem]:
    """Every trial needs an epoch between its probe and its tuning for the test's resolution, whatever is drawn."""
    for backbone in spec.backbones:
        epochs = min(_possible(spec, backbone, "epochs"))
        probe, fixres = (max(_possible(spec, backbone, f"{phase}.epochs")) for phase in ("probe", "fixres"))
        if probe + fixres >= epochs:
            message = (
                f"must be more than the epochs of `probe` and `fixres` together, but a trial of `{backbone}` could "
                f"have {epochs}, with {probe} and {fixres} of them."
            )
            yield ("train", "epochs"), message
            return


def _stream(spec: SweepSpec) -> Iterator[Problem]:
    """A stream has one order, that of its shards."""
    if not spec.data.stream:
        return
    for backbone in spec.backbones:
        for setting, in_order in (("cache_features", 0), ("sampler", "natural")):
            others = [value for value in _possible(spec, backbone, setting) if value != in_order]
            if others:
                message = (
                    f"reads images in the order in which they lie, but a trial of `{backbone}` could have "
                    f"`{setting}: {others[0]}`, which asks for them in another; give up one of the two."
                )
                yield ("data", "stream"), message
                return


def _possible(spec: SweepSpec, backbone: str, setting: str) -> list[Any]:
    """Returns the ends of what a setting of `train` can be for a backbone."""
    read = attrgetter(setting)
    point: dict[str, ParamValue] = {"backbone": backbone}
    found = [point]
    for scoped in spec.parameters(backbone):
        if setting_path(scoped.name) == setting_path(f"train.{setting}"):
            found = [{**point, scoped.name: value} for value in scoped.parameter.ends]
    return [read(resolve(spec, one).train) for one in found]


def _set_by_override(spec: SweepSpec, backbone: str, path: Keys) -> Keys | None:
    for pattern, override in spec.matching_overrides(backbone):
        for name in override.set:
            if setting_path(name) == path:
                return ("overrides", pattern, "set", name)
    return None


def _rule_broken(spec: SweepSpec, point: Mapping[str, ParamValue]) -> Problem | None:
    try:
        resolve(spec, point)
    except ValidationError as error:
        first = error.errors()[0]
        return untagged(first["loc"]), sentence(first)
    except SpecError as error:
        return ("backbone_args",), str(error)
    return None


def _points(spec: SweepSpec) -> Iterator[Problem]:
    for index, point in enumerate(spec.points):
        known = {scoped.name: scoped.parameter for scoped in spec.parameters(spec.backbone_of(point))}
        for name, value in point.items():
            if name not in known:
                yield ("points", index, name), f"`{name}` is not in the space{nearest(name, known) or '.'}"
            elif not known[name].contains(value):
                yield ("points", index, name), f"`{name}` can never be `{value}`; widen its range in `space`."

"""Every point of a finite space, conditions respected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeper.records import ParamValue
from sweeper.spec.space import IntUniform, Parameter
from sweeper.spec.sweep import SweepSpec


def grid_points(spec: SweepSpec) -> Iterator[dict[str, ParamValue]]:
    """Yields each point once, in the order of the file, the last parameter varying fastest.

    A parameter whose condition does not hold is left out, so that two points never differ only in a
    value that nothing reads.
    """
    yield from _extend(spec, {}, frozenset())


def _extend(spec: SweepSpec, chosen: dict[str, ParamValue], done: frozenset[str]) -> Iterator[dict[str, ParamValue]]:
    waiting = [s for s in spec.parameters(spec.backbone_of(chosen)) if s.name not in done]
    if not waiting:
        yield chosen
        return
    scoped, done = waiting[0], done | {waiting[0].name}
    if not scoped.parameter.applies(chosen):
        yield from _extend(spec, chosen, done)
        return
    for value in _values(scoped.parameter):
        yield from _extend(spec, {**chosen, scoped.name: value}, done)


def _values(parameter: Parameter) -> Iterable[ParamValue]:
    if isinstance(parameter, IntUniform):
        low, high = parameter.ends
        return range(low, high + 1)
    return parameter.ends

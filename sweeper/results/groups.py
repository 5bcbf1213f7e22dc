"""The ranking by backbone, or by any other parameter: how good each value can be, how reliably, and at which cost."""

from __future__ import annotations

import statistics
from collections import defaultdict

from pydantic import BaseModel, ConfigDict

from sweeper.errors import InputError, nearest
from sweeper.records import METRICS, ParamValue
from sweeper.results.leaderboard import Leaderboard, Row


class Group(BaseModel):
    """The trials that share a value of a parameter."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    value: ParamValue
    """None for trials that do not have the parameter."""
    trials: int
    best: Row
    """By the ranking of the whole board."""
    median: float
    """Of the objective over its trials, each at its best epoch."""
    quartiles: tuple[float, float]
    """The objective that three in four of its trials reach, and one in four; the same twice for a single trial."""
    seconds: float
    """Training and evaluation of all its trials together."""
    gpu_hours: float
    is_level: bool
    """Whether one of its trials is level with the best of all."""


class Groups(BaseModel):
    """A board by one parameter, the group with the best trial first."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    parameter: str
    objective: str
    groups: tuple[Group, ...]


def grouped(board: Leaderboard, parameter: str, *, fixed: ParamValue = None) -> Groups:
    """Returns the board by the values of a parameter.

    Args:
        board: from `rank`, with what is known of costs and intervals.
        parameter: a name of the search space, or `backbone`.
        fixed: the value of trials that have none of their own: the sweep's backbone.

    Raises:
        InputError: no trial has such a parameter.
    """
    known = {*board.parameters, "backbone"}
    if parameter not in known:
        raise InputError(f"`--by` names a parameter of the sweep, but got `{parameter}`{nearest(parameter, known)}")
    members: defaultdict[ParamValue, list[Row]] = defaultdict(list)
    for row in board.rows:
        members[row.params.get(parameter, fixed)].append(row)
    groups = tuple(_group(board.objective, value, rows) for value, rows in members.items())
    return Groups(parameter=parameter, objective=board.objective, groups=groups)


def _group(objective: str, value: ParamValue, rows: list[Row]) -> Group:
    values = [row.best.value(objective) for row in rows]
    cuts = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    worse, better = (cuts[0], cuts[2]) if METRICS[objective].higher_is_better else (cuts[2], cuts[0])
    return Group(
        value=value,
        trials=len(rows),
        best=rows[0],
        median=cuts[1],
        quartiles=(worse, better),
        seconds=sum(row.seconds for row in rows),
        gpu_hours=sum(row.gpu_hours for row in rows),
        is_level=any(row.is_level for row in rows),
    )

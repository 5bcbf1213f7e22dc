"""How the study's trials name what sweeper writes beside Optuna's own."""

from typing import Final

EPOCH: Final = "epoch:"
"""Prefix of the attribute of an epoch: all its metrics."""

ATTEMPTS: Final = "attempts"
"""How often a trial was started."""
PARAMS: Final = "params"
"""A trial's whole point, by the names of the file; what is not there is not drawn yet."""
FAILURE: Final = "failure"
STOP_REASON: Final = "stop_reason"
"""Why a trial ended, where that was not the stop rule."""

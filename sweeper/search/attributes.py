"""How the study's trials name what sweeper writes beside Optuna's own."""

from typing import Final

EPOCH: Final = "epoch:"
"""Prefix of the attribute of an epoch: all its metrics."""

"""1. What is asked: a YAML file becomes a SweepSpec. Imports neither torch, ray, optuna nor mlflow."""

from sweeper.spec.load import dump_spec, load_spec
from sweeper.spec.resolve import resolve
from sweeper.spec.sweep import SweepSpec
from sweeper.spec.trial import TrialConfig

__all__ = ["SweepSpec", "TrialConfig", "dump_spec", "load_spec", "resolve"]

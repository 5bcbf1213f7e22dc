"""Kills its own process at a chosen write. Python imports it where this folder is on PYTHONPATH, Ray's workers included.

The product has no hook for this: the functions that write are wrapped here when their modules are imported. What is to
be killed stands in the JSON file that `FAULT_PLAN` names, which may be replaced at any time; whoever dies of it
renames it first.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PLAN = os.environ.get("FAULT_PLAN")
ROLE = "worker" if any("default_worker.py" in part for part in sys.orig_argv) else "driver"
LEDGER = (
    "create_new_trial", "set_trial_param", "set_trial_state_values", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr", "set_study_user_attr", "create_new_study",
)  # fmt: skip
TRACKER = ("create_run", "log_batch", "update_run", "set_terminated")

_calls: dict[str, int] = {}


def _at(kind: str, moment: str) -> None:
    """Dies if the plan says so: {"id", "role", "kind", "call": the so-many-th since the plan was made, "moment"}."""
    try:
        plan = json.loads(Path(str(PLAN)).read_text())
    except OSError:
        return
    if plan["role"] != ROLE or plan["kind"] != kind or plan["moment"] != moment:
        return
    _calls[plan["id"]] = _calls.get(plan["id"], 0) + 1
    if _calls[plan["id"]] < plan["call"]:
        return
    try:
        Path(str(PLAN)).rename(f"{PLAN}.fired")
    except OSError:  # another worker died of it
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _at(kind, "before")
        result = function(*args, **kwargs)
        _at(kind, "after")
        return result

    return wrapper


def _patch_paths(module: ModuleType) -> None:
    module.flush_file = _wrapped(module.flush_file, "flush")  # type: ignore[attr-defined]
    move = Path.replace

    def replace(self: Path, target: Any) -> Path:
        return (_wrapped(move, "move") if self.suffix == ".part" else move)(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]


def _patch_ledger(module: ModuleType) -> None:
    for name in LEDGER:
        setattr(module.RDBStorage, name, _wrapped(getattr(module.RDBStorage, name), "ledger"))


def _patch_tracker(module: ModuleType) -> None:
    for name in TRACKER:
        setattr(module.MlflowClient, name, _wrapped(getattr(module.MlflowClient, name), "tracker"))


def _patch_run(module: ModuleType) -> None:
    """Writes into the trial's log which epochs are begun."""
    seed = module.seed_everything

    def seed_everything(number: int, *, epoch: int) -> None:
        logging.getLogger("sweeper.trial").info("Begin %d.", epoch)
        seed(number, epoch=epoch)

    module.seed_everything = seed_everything  # type: ignore[attr-defined]


PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "sweeper.paths": _patch_paths,
    "optuna.storages._rdb.storage": _patch_ledger,
    "sweeper.tracking.mlflow": _patch_tracker,
    "sweeper.trial.run": _patch_run,
}


class _Patching(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            PATCHES[fullname](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if PLAN:
    sys.meta_path.insert(0, _Patching())

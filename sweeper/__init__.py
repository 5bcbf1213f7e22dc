"""sweeper: hyperparameter sweeps of pretrained image backbones.

Usage::

    from pathlib import Path
    import sweeper

    spec = sweeper.load_spec(Path("search_spaces/quickstart.yaml"))
    outcome = sweeper.run_sweep(spec)
    print(sweeper.rank(outcome.records, spec.search.objective).best)

    model = sweeper.load_model("sweeps/quickstart/trials/0000")  # or what `sweeper export` wrote
    print(model.predict(["one.jpg"])[0].label)
"""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from sweeper.driver.run import SweepOutcome, resume_sweep, run_sweep
    from sweeper.errors import SweeperError
    from sweeper.export import Model, load_model
    from sweeper.records import TrialRecord
    from sweeper.results import Leaderboard, rank
    from sweeper.spec import SweepSpec, load_spec

__version__ = "0.1.0"

# Imported when first used: a person who validates a file must not wait for torch and Ray.
_HOMES = {
    "Leaderboard": "sweeper.results",
    "load_model": "sweeper.export",
    "load_spec": "sweeper.spec",
    "Model": "sweeper.export",
    "rank": "sweeper.results",
    "resume_sweep": "sweeper.driver.run",
    "run_sweep": "sweeper.driver.run",
    "SweeperError": "sweeper.errors",
    "SweepOutcome": "sweeper.driver.run",
    "SweepSpec": "sweeper.spec",
    "TrialRecord": "sweeper.records",
}

__all__ = [
    "Leaderboard",
    "Model",
    "SweepOutcome",
    "SweepSpec",
    "SweeperError",
    "TrialRecord",
    "__version__",
    "load_model",
    "load_spec",
    "rank",
    "resume_sweep",
    "run_sweep",
]


def __getattr__(name: str) -> _typing.Any:
    if name not in _HOMES:
        raise AttributeError(f"module `sweeper` has no `{name}`")
    return getattr(_importlib.import_module(_HOMES[name]), name)

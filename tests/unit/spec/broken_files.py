"""Makes broken search space files and loads them: all that may come of it is an error of ours.

Usage: python -m tests.unit.spec.broken_files FILES [SEED]; without a seed the files are the same each time.
In a process of its own, where nothing counts the lines that run: that would double the time of thousands of files.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sweeper.errors import SweeperError
from sweeper.spec.document import Document
from sweeper.spec.load import spec_of
from sweeper.spec.naming import setting_names

WHOLE: dict[str, Any] = {
    "name": "s",
    "data": {"source": "digits", "image_size": 32, "split": {"seed": 1}},
    "backbone": "resnet18",
    "train": {"epochs": 3, "batch_size": 32, "probe": {"epochs": 1}},
    "augment": {"hflip": 0.0, "policy": "3a"},
    "space": {
        "lr": {"log": [1e-4, 1e-2]},
        "freeze_depth": {"int": [0, 2]},
        "augment.policy": {"choice": ["none", "3a"]},
        "augment.mixup": {"uniform": [0.0, 0.8], "when": {"augment.policy": "3a"}},
    },
    "overrides": {"resnet*": {"set": {"batch_size": 8}, "space": {"lr": {"log": [1e-5, 1e-2]}}}},
    "points": [{"lr": 1e-3}],
    "search": {"trials": 4, "stop": {"asha": {"reduction": 3}}, "budget": {"hours": 2}, "constraints": {"parameters": {"max": 3}}},
    "resources": {"gpus_per_trial": 0.5},
}  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from([*setting_names(), "auto", "1e3", "${X}", "postgres://a:b@c", "2017-01-01", "!!python/name:os.system"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, "log", "choice", "when", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip

STIRRED = [*"{}[]:-#&*!|>'\"%@` \n\t\0é", "<<: ", "*a", "&a ", "---\n", "!!int ", "!!timestamp ", "!!set "]


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A file with other values in some places, then with its text cut and stirred, or no such file at all."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    if rng.random() < 0.1:
        return draw(st.text(max_size=60))
    values = _replaced(WHOLE, rng, lambda: draw(VALUES))
    text = yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100)
    for _ in range(rng.choice((0, 0, 1, 3))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + draw(st.sampled_from(STIRRED)) + text[at + rng.randrange(3):]  # fmt: skip
    return text


def _replaced(value: Any, rng: random.Random, other: Any) -> Any:
    if rng.random() < 0.04:
        return other()
    if isinstance(value, dict):
        kept = {key: _replaced(one, rng, other) for key, one in value.items() if rng.random() > 0.03}
        return {**kept, "unknown": other()} if rng.random() < 0.03 else kept
    if isinstance(value, list):
        return [_replaced(one, rng, other) for one in value]
    return value


def load(files: int, seeded: int | None) -> None:
    """Loads so many texts; anything but a spec or an error of ours goes through."""

    @given(text=broken())
    @settings(
        max_examples=files, derandomize=seeded is None, deadline=None, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ends_well(text: str) -> None:
        with suppress(SweeperError):
            spec_of(Document.parse(text, name="broken.yaml"))

    (ends_well if seeded is None else seed(seeded)(ends_well))()


if __name__ == "__main__":
    load(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)

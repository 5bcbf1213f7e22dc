"""The package's public names are those it lists and nothing else; ruff keeps the list sorted."""

from __future__ import annotations

from pathlib import Path

import sweeper


def test_every_listed_name_is_there() -> None:
    for name in sweeper.__all__:
        assert getattr(sweeper, name) is not None


def test_no_other_name_is_public() -> None:
    submodules = {path.stem for path in Path(sweeper.__file__).parent.iterdir()}
    public = {name for name in vars(sweeper) if not name.startswith("_")}
    assert public - submodules <= set(sweeper.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    assert not hasattr(sweeper, "no_such_name")

"""YAML -> SweepSpec, with every mistake named at its line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeper.errors import SpecError, nearest
from sweeper.spec.checks import find_problems
from sweeper.spec.document import Document, Keys, dump_yaml
from sweeper.spec.naming import setting_names, setting_path
from sweeper.spec.prior import PriorSpec
from sweeper.spec.sentences import sentence, untagged
from sweeper.spec.sweep import SweepSpec

_PATHS = ("weights", "teacher", "train.teacher")
"""Settings of a trial that are paths."""
_WORDS = ("pretrained", "random", "auto", "none")
"""What `weights` and `search.prior` can be besides a path."""


def load_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Reads a search space file.

    Usage::

        spec = load_spec(Path("search_spaces/davit.yaml"), ["search.trials=20"])

    Args:
        path: a YAML file.
        overrides: `key.path=value` each, applied in order after the file.

    Raises:
        SpecError: with one line for each mistake: file, line, key path, rule, value, nearest right name.
    """
    document = Document.read(path)
    for assignment in overrides:
        document.override(assignment)
    return spec_of(document)


def spec_of(document: Document) -> SweepSpec:
    """Turns a document into a SweepSpec; relative paths in it become absolute.

    Raises:
        SpecError: as `load_spec`.
    """
    _make_paths_absolute(document.values)
    try:
        spec = SweepSpec.model_validate(document.values)
    except ValidationError as error:
        found = [(untagged(e["loc"]), sentence(e, root=SweepSpec)) for e in error.errors()]
        raise _spec_error(document, found) from error
    if problems := find_problems(spec):
        raise _spec_error(document, problems)
    return spec


def load_prior(path: Path) -> PriorSpec:
    """Reads a prior file.

    Raises:
        SpecError: as `load_spec`.
    """
    document = Document.read(path, what="prior")
    try:
        prior = PriorSpec.model_validate(document.values)
    except ValidationError as error:
        raise _spec_error(document, [(e["loc"], sentence(e, root=PriorSpec)) for e in error.errors()]) from error
    places: list[Keys] = [("beliefs", name) for name in prior.beliefs]
    places += [("beliefs", name, "when", parent) for name, one in prior.beliefs.items() for parent in one.when]
    places += [("points", index, "point", name) for index, one in enumerate(prior.points) for name in one.point]
    unknown = [
        (path, f"`{path[-1]}` is not a setting{nearest(str(path[-1]), setting_names()) or '.'}")
        for path in places
        if setting_path(str(path[-1])) is None
    ]
    if unknown:
        raise _spec_error(document, unknown)
    return prior


def dump_spec(spec: SweepSpec) -> str:
    """Returns the complete spec as YAML, defaults filled in; `load_spec` reads it back as an equal spec."""
    return dump_yaml(spec.model_dump(mode="json", by_alias=True))


def _make_paths_absolute(values: dict[str, Any]) -> None:
    """A worker runs in another folder, perhaps on another machine, and must find what the user meant here."""
    data, train, space, overrides, points, search = (
        values.get(key) for key in ("data", "train", "space", "overrides", "points", "search")
    )
    _make_absolute(data, ("root", "file", "metadata"))
    _make_absolute(train, ("teacher",))
    _make_absolute(search, ("prior",))
    earlier = search.get("warm_start") if isinstance(search, dict) else None
    for source in earlier if isinstance(earlier, list) else []:
        if isinstance(source, dict) and os.sep in str(source.get("sweep")):  # else it is a sweep's name
            _make_absolute(source, ("sweep",))
    places = [values, *(points if isinstance(points, list) else [])]
    spaces = [space]
    for override in overrides.values() if isinstance(overrides, dict) else []:
        if isinstance(override, dict):
            places.append(override.get("set"))
            spaces.append(override.get("space"))
    for place in places:
        _make_absolute(place, _PATHS)
    for one in spaces:
        for name in _PATHS:
            searched = one.get(name) if isinstance(one, dict) else None
            if isinstance(searched, dict) and isinstance(searched.get("choice"), list):
                searched["choice"] = [_absolute(path) if isinstance(path, str) else path for path in searched["choice"]]


def _make_absolute(place: Any, names: Sequence[str]) -> None:
    if isinstance(place, dict):
        for name in names:
            if isinstance(place.get(name), str):
                place[name] = _absolute(place[name])


def _absolute(path: str) -> str:
    if path in _WORDS or "://" in path:
        return path
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - pathlib raises for an unknown user


def _spec_error(document: Document, problems: Sequence[tuple[Keys, str]]) -> SpecError:
    lines = dict.fromkeys(
        f"{document.where(path)}: {'.'.join(map(str, path))}: {message}"
        if path
        else f"{document.where(path)}: {message}"
        for path, message in problems
    )
    return SpecError("\n".join(lines))

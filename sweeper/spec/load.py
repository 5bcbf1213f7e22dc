"""YAML -> SweepSpec, with every mistake named at its line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sweeper.errors import SpecError
from sweeper.spec.checks import find_problems
from sweeper.spec.document import Document, Keys
from sweeper.spec.sentences import sentence
from sweeper.spec.sweep import SweepSpec


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
        found = [
            (
                document.locate(e["loc"], keep_last=e["type"] in ("missing", "extra_forbidden")),
                sentence(e, root=SweepSpec),
            )
            for e in error.errors()
        ]
        raise _spec_error(document, found) from error
    if problems := find_problems(spec):
        raise _spec_error(document, problems)
    return spec


def dump_spec(spec: SweepSpec) -> str:
    """Returns the complete spec as YAML, defaults filled in; `load_spec` reads it back as an equal spec."""
    return yaml.safe_dump(spec.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True, width=100)


def _make_paths_absolute(values: dict[str, Any]) -> None:
    """A worker on another machine, or in another folder, must find what the user meant here."""
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("root"), str):
        data["root"] = str(Path(data["root"]).expanduser().absolute())
    weights = values.get("weights")
    if isinstance(weights, str) and (os.sep in weights or weights.startswith("~")):
        values["weights"] = str(Path(weights).expanduser().absolute())


def _spec_error(document: Document, problems: Sequence[tuple[Keys, str]]) -> SpecError:
    lines = dict.fromkeys(
        f"{document.where(path)}: {'.'.join(map(str, path))}: {message}"
        if path
        else f"{document.where(path)}: {message}"
        for path, message in problems
    )
    return SpecError("\n".join(lines))

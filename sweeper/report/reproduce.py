"""What it takes to run the same sweep again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from sweeper.report.section import Section, Value
from sweeper.report.source import Source
from sweeper.spec import dump_spec
from sweeper.tracking import Environment

_PACKAGES: Final = ("sweeper", "torch", "timm")
_PASSWORD: Final = re.compile(r"(\w://)[^\s/@]+@")
"""User and password in an address: a page that is shown to others must not tell them."""


class Split(Value):
    """The images of one split."""

    name: str
    images: int


class Reproduce(Section):
    """Command, settings, versions and images."""

    command: str
    spec: str
    """All settings, as YAML; defaults filled in, passwords taken out."""
    versions: dict[str, str]
    machine: tuple[tuple[str, str], ...] = ()
    """(what, which): of the driver's machine."""
    data_fingerprint: str | None = None
    split_fingerprint: str | None = None
    splits: tuple[Split, ...] = ()
    seed: int = 0
    note: str = ""


def reproduce_of(source: Source) -> Reproduce:
    """Returns all of it."""
    found, prepared, name = source.environment, source.prepared, source.spec.name
    return Reproduce(
        command=f"sweeper run {name}.yaml --set name={name}-again",
        spec=_PASSWORD.sub(r"\1", dump_spec(source.spec)),
        versions=found.packages if found else {package: version(package) for package in _PACKAGES},
        machine=tuple(_machine(found)) if found else (),
        data_fingerprint=prepared.data_fingerprint if prepared else None,
        split_fingerprint=prepared.split_fingerprint if prepared else None,
        splits=tuple(Split(name=key, images=count) for key, count in prepared.images.items()) if prepared else (),
        seed=source.spec.seed,
        note="" if found else "The sweep did not note its versions; these are those that wrote this page.",
    )


def _machine(found: Environment) -> Iterator[tuple[str, str]]:
    yield "Python", found.python
    yield "system", found.platform
    yield "processor", found.machine
    if found.gpus:
        yield "GPUs", ", ".join(found.gpus)
    if found.git_commit:
        yield "git commit", f"{found.git_commit}{' with changes' if found.git_dirty else ''}"

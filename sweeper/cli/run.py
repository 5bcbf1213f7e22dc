"""`sweeper run`: one YAML file becomes a ranked sweep."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from sweeper.cli import detached, options
from sweeper.folder import read_spec, require_new, workspace_at
from sweeper.spec import load_spec


@click.command("run")
@options.space_file
@options.overrides
@options.no_prior
@options.root
@detached.option
@options.as_json
def command(  # noqa: PLR0913 - click hands each option over by name
    file: Path, overrides: tuple[str, ...], no_prior: bool, root: Path | None, detach: bool, as_json: bool
) -> int:
    """Run the sweep that the search space FILE asks for.

    Ctrl-C stops it cleanly; `sweeper resume` goes on.
    """
    spec = load_spec(file, (*overrides, *(options.WITHOUT_PRIOR if no_prior else ())))
    paths = require_new(workspace_at(root), spec.name)
    if detach:
        return detached.detach(paths, sys.argv[1:])
    # torch and Ray take seconds to import: a mistake in the file is told before that.
    from sweeper.cli.outcome import show_outcome
    from sweeper.cli.progress import watching
    from sweeper.driver.run import run_sweep

    with watching(spec, Console(stderr=True)) as observer:
        outcome = run_sweep(spec, root=root, source=file, observer=observer)
    return show_outcome(read_spec(paths), outcome, as_json=as_json)

"""A trained model as people name it: its folder or file, or the sweep whose best trial it is."""

from __future__ import annotations

from pathlib import Path

from sweeper.errors import ModelError
from sweeper.folder import find_sweep, read_spec, workspace_at
from sweeper.paths import SweepPaths
from sweeper.results import rank_for
from sweeper.results.confirmed import read_confirmation


def find_model(name: str, *, root: Path | None, trial: int | None = None) -> Path:
    """Returns the folder or file of a model.

    Args:
        name: a file, the folder of a trial or of an exported model, or a sweep's name or folder.
        root: the folder that holds all sweeps.
        trial: which trial of a sweep; None takes the first of its leaderboard.

    Raises:
        SweepFolderError: there is nothing of that name.
        ModelError: the sweep has no such trial, or none that finished an epoch; or one model was named, and a trial.
    """
    # Heavy, and not needed to say that a command was mistyped.
    from sweeper.backbones import holds_model

    path = Path(name)
    if path.is_file() or holds_model(path):
        if trial is not None:
            raise ModelError(f"`--trial` chooses among the trials of a sweep, but `{name}` is one model; leave it out.")
        return path
    paths = find_sweep(workspace_at(root), name)
    folder = paths.trial(trial).root if trial is not None else _best(paths)
    if not holds_model(folder):
        raise ModelError(
            f"A trial must have finished an epoch before there is a model, but `{folder}` holds none; "
            f"`sweeper leaderboard {paths.root.name}` shows those that have."
        )
    return folder


def _best(paths: SweepPaths) -> Path:
    """Returns the folder of the best trial whose weights are here: that of the confirmed winner, else the first's."""
    from sweeper.search import open_ledger, storage_url

    spec = read_spec(paths)
    board = rank_for(open_ledger(spec, storage_url(spec, paths), create=False).records(), spec.search)
    confirmed = read_confirmation(spec, paths)
    first = [confirmed.winner] if confirmed is not None and confirmed.winner is not None else []
    folders = [paths.trial(number) for number in (*first, *(row.number for row in board.rows))]
    best = next((trial.root for trial in folders if trial.best.is_file()), None)
    if best is None:
        raise ModelError(f"The sweep `{spec.name}` must have a trial with a finished epoch, but has none here.")
    return best

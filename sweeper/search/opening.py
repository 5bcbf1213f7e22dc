"""Opens a ledger: the study is made, or found again, and shown to readers and to its one writer in their own ways."""

from __future__ import annotations

from typing import cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from sweeper.errors import SweepFolderError
from sweeper.records import METRICS
from sweeper.search.advice import Advice
from sweeper.search.algorithms import pruner_for
from sweeper.search.ledger import Ledger
from sweeper.search.mirror import Mirror
from sweeper.search.storage import open_storage
from sweeper.spec.sweep import SweepSpec


def open_ledger(spec: SweepSpec, url: str, *, create: bool, advice: Advice | None = None) -> Ledger:
    """Opens the ledger of a sweep.

    Args:
        spec: the sweep; its name is the study's.
        url: an Optuna storage URL.
        create: make the study where there is none, and queue its seed points; a reader must not.
        advice: what the search starts from; the same at every resume.

    Raises:
        SweepFolderError: there is no such study and `create` is false.
        InputError: the storage cannot be opened.
    """
    storage = open_storage(url)
    if not create and spec.name not in optuna.get_all_study_names(storage):
        raise SweepFolderError(f"The sweep `{spec.name}` has no trials yet; `sweeper resume {spec.name}` starts them.")
    ledger = Ledger(spec, open_study(spec, storage, writes=create), advice or Advice())
    if create:
        ledger.enqueue_seeds()
    return ledger


def open_study(spec: SweepSpec, storage: BaseStorage, *, writes: bool) -> optuna.Study:
    """Returns the study of a sweep, made if missing.

    Args:
        spec: the sweep; its name is the study's.
        storage: where it is.
        writes: whether it is for the one process that writes trials, to which nobody else's writes are shown.
    """
    better = METRICS[spec.search.objective].higher_is_better
    study = optuna.create_study(
        study_name=spec.name,
        storage=storage,
        direction=StudyDirection.MAXIMIZE if better else StudyDirection.MINIMIZE,
        pruner=pruner_for(spec),
        load_if_exists=True,
    )
    if writes:
        study._storage = cast("BaseStorage", Mirror(study._storage, study._study_id))
    return study

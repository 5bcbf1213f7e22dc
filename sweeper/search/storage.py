"""The database that holds a ledger: which one, and how it is opened."""

from __future__ import annotations

import os

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from sweeper.errors import InputError, SweepFolderError
from sweeper.paths import SweepPaths
from sweeper.spec.secrets import expanded, holds_secret
from sweeper.spec.sweep import SweepSpec


def storage_url(spec: SweepSpec, paths: SweepPaths) -> str:
    """Returns the ledger's Optuna storage URL: the spec's, else an SQLite file in the sweep's folder."""
    if spec.search.storage is None:
        return f"sqlite:///{paths.study}"
    return expanded(spec.search.storage, setting="search.storage")


def require_no_ledger(spec: SweepSpec, url: str) -> None:
    """Refuses to start a new sweep on top of another's trials.

    Raises:
        SweepFolderError: the storage has a study of that name.
        InputError: the storage cannot be opened.
    """
    if spec.name in optuna.get_all_study_names(open_storage(url)):
        raise SweepFolderError(
            f"The storage `{without_password(url)}` has a study `{spec.name}` already, from another sweep folder; "
            "start with another name: `--set name=<new name>`."
        )


def with_storage(spec: SweepSpec) -> SweepSpec:
    """Returns the spec of a new sweep with the storage that `SWEEPER_STORAGE` names, unless it names one itself."""
    given = os.environ.get("SWEEPER_STORAGE") or None
    # A password stays in the environment: the spec is kept and shown.
    storage = spec.search.storage or ("${SWEEPER_STORAGE}" if given and holds_secret(given) else given)
    return spec.model_copy(update={"search": spec.search.model_copy(update={"storage": storage})})


def open_storage(url: str, *, setting: str = "search.storage") -> RDBStorage:
    """Opens an Optuna storage.

    Args:
        url: its URL.
        setting: what named it, for the error.

    Raises:
        InputError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connection = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=connection)
    except (SQLAlchemyError, ImportError, StorageInternalError) as error:
        why = str(error).strip().splitlines()[0].replace(url, without_password(url))
        raise InputError(
            f"`{setting}` must be a database that Optuna can open, but `{without_password(url)}` is not: {why}"
        ) from error


def without_password(url: str) -> str:
    """Returns a storage's URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"

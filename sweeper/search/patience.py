"""Waits for a ledger's database: one that restarts, or that somebody has locked, is back in a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

from sweeper.disk import is_full
from sweeper.errors import LedgerError

_LOG = logging.getLogger(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 900.0
"""A database server that is moved to another machine is back sooner."""


def patient(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Calls a method again while the database does not answer, at growing intervals, for a quarter of an hour.

    The method must be one that can be called again after it was cut off anywhere: what it wrote may be written.

    Raises:
        LedgerError: the database stayed away.
    """

    @wraps(method)
    def persistent(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        pause, away_since = _FIRST_PAUSE_SECONDS, None
        while True:
            try:
                result = method(*args, **kwargs)
            except (StorageInternalError, SQLAlchemyError) as error:
                if not _is_passing(error):
                    raise
                now = time.monotonic()
                if away_since is None:
                    away_since = now
                    _LOG.warning("The ledger's database does not answer (%s); the sweep waits for it.", _gist(error))
                if now - away_since > _PATIENCE_SECONDS and not is_full(
                    error
                ):  # a disk has room when a person makes it
                    raise LedgerError(
                        f"The ledger's database must answer, but has not for {_PATIENCE_SECONDS / 60:.0f} minutes "
                        f"({_gist(error)}); `sweeper resume` goes on once it does."
                    ) from error
            else:
                if away_since is not None:
                    _LOG.info("The ledger's database is back after %.0f s.", time.monotonic() - away_since)
                return result
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    return persistent


def _is_passing(error: Exception) -> bool:
    """Whether the database was away or locked, rather than asked for something impossible."""
    cause = _cause(error)
    lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
    # Where Optuna asks again within a transaction whose connection was lost, SQLAlchemy says so in its own way.
    return lost or isinstance(cause, (OperationalError, InterfaceError, PendingRollbackError))


def _cause(error: BaseException) -> BaseException:
    # Optuna wraps what happens inside a transaction.
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


def _gist(error: Exception) -> str:
    return str(_cause(error)).strip().splitlines()[0]

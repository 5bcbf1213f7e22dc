"""Every error sweeper raises on purpose.

The tree; the letter is the exit code of the command line (2: the user's input, 1: it failed)::

    SweeperError                      1
      InputError                      2
        SpecError                     2   the YAML file or a `--set`
        DataError                     2   the images
        BackboneError                 2   the model or its weights
        ModelError                    2   a trained model that cannot be opened or exported as asked
        ResourceError                 2   a machine that cannot run what is asked
        SweepFolderError              2   a sweep that exists, is missing, is busy or cannot be written
      FetchError                      1   a download broke off, or is not what was published
      CacheError                      1   a decoded cache that is damaged
      CheckpointError                 1   a checkpoint that is damaged or of another trial
      LedgerError                     1   the ledger's database stayed away
      PreemptedError                  1   a trial whose machine is about to go
      SupersededError                 1   a trial that another attempt has taken over
      EngineError                     1   Ray could not be started, or kept failing
      TrackingError                   1   the MLflow server refused or did not answer
      TrialError                      1   a trial cannot go on: its loss is not finite

A message is one sentence or two: the rule, the value that broke it, what to do. Errors are built from
their positional arguments alone, so they survive the pickling between Ray's processes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class SweeperError(Exception):
    """Root of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1


class InputError(SweeperError):
    """The user's input cannot be used as it is."""

    exit_code: ClassVar[int] = 2


class SpecError(InputError):
    """A search space file, or a `--set` override, breaks a rule."""


class DataError(InputError):
    """The images cannot be used: a missing root, an empty class, too many unreadable files."""


class BackboneError(InputError):
    """A backbone is unknown, cannot be built as asked, or its weights cannot be had."""


class ModelError(InputError):
    """A trained model's folder or file cannot be opened, or cannot be exported as asked."""


class ResourceError(InputError):
    """The machine or cluster cannot give a trial what `resources:` asks for."""


class SweepFolderError(InputError):
    """A sweep folder exists already, is missing, is in use, or cannot be written."""


class FetchError(SweeperError):
    """A download broke off for good, or what came is not what was published."""


class CacheError(SweeperError):
    """A decoded image cache is damaged."""


class CheckpointError(SweeperError):
    """A checkpoint is damaged, or belongs to another trial."""


class PreemptedError(SweeperError):
    """The machine is about to go: the trial has saved where it is, and goes on elsewhere."""


class SupersededError(SweeperError):
    """A trial was taken for lost and another attempt goes on with it; this one may write no more."""


class LedgerError(SweeperError):
    """The ledger's database did not answer for longer than the driver waits."""


class EngineError(SweeperError):
    """Ray could not be started, or failed more often than the driver retries."""


class TrackingError(SweeperError):
    """The tracking server refused a request or did not answer."""


class TrialError(SweeperError):
    """A trial cannot go on, for a reason of its own: its loss is not finite."""


def nearest(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Returns "; did you mean `a` or `b`?" for the known names closest to `name`, or an empty string.

    Args:
        name: what the user wrote.
        known: the names that would have been right.
        limit: how many to offer at most.
    """
    close = difflib.get_close_matches(name, list(known), n=limit, cutoff=0.5)
    if not close:
        return ""
    alike = [difflib.SequenceMatcher(a=name, b=other).ratio() for other in close]
    # Beside a near certain one, the merely similar only distract.
    close = [other for other, ratio in zip(close, alike, strict=True) if ratio > max(alike) - 0.15]
    return "; did you mean " + " or ".join(f"`{name}`" for name in close) + "?"

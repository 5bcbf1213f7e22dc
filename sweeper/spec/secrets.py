"""Passwords stay out of the file: what stands in it is kept in the sweep's folder and shown in MLflow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Final

from sweeper.errors import InputError
from sweeper.spec.document import Keys

_NAMED: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# One slash is enough: a path has made one of two.
_USER: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}(?!/)[^/@:\s]*:(?P<secret>[^@/\s]+)@")
_OPTION: Final = re.compile(
    r"[?&](?:password|passwd|pwd|token|secret|secret_key|access_key|sig|signature|api_key|X-Amz-Signature)="
    r"(?P<secret>[^&\s]+)",
    re.IGNORECASE,
)


def secrets_in(values: Any, path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yields where a spec's values hold a password of a URL, and the sentence that says so.

    Args:
        values: plain values, nested.
        path: where they stand.
    """
    if isinstance(values, dict):
        for key, value in values.items():
            yield from secrets_in(value, (*path, key))
    elif isinstance(values, (list, tuple)):
        for index, value in enumerate(values):
            yield from secrets_in(value, (*path, index))
    elif isinstance(values, str) and holds_secret(values):
        how = (
            "write `${NAME}` in its place and set the environment variable `NAME`."
            if path in (("search", "storage"), ("tracking", "uri"))
            else "give it as the store's own client wants it: in the environment, or in its credentials file."
        )
        yield path, f"holds a password, which would be kept in the sweep's folder and shown in MLflow; {how}"


def holds_secret(text: str) -> bool:
    """Whether a URL has a password that is not the name of an environment variable."""
    found = (match["secret"] for pattern in (_USER, _OPTION) for match in pattern.finditer(text))
    return any(_NAMED.fullmatch(secret) is None for secret in found)


def expanded(text: str, *, setting: str) -> str:
    """Returns a URL with the environment variables that it names put in.

    Args:
        text: what stands in the file.
        setting: where, for the error.

    Raises:
        InputError: a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InputError(f"`{setting}` names the environment variable `{match[1]}`, which is not set; set it.")
        return os.environ[match[1]]

    return _NAMED.sub(value, text)

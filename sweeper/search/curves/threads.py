"""How many cores the search's linear algebra takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps BLAS on one core.

    Matrices of a few hundred rows take two to three times as long on two (benchmarks/README.md), and the other
    cores belong to the trials.
    """
    import scipy.linalg  # noqa: F401  brings a BLAS of its own, which must be there to be limited

    with threadpool_limits(limits=1, user_api="blas"):
        yield

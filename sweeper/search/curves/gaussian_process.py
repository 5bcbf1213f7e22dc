"""A Gaussian process with a length scale a parameter, and correlated tasks (Rasmussen and Williams, 2006).

scipy is imported where it is used: it takes long, and a command that only reads the ledger does not need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeper.search.curves.space import Floats

Indices = NDArray[np.intp]

_JITTER: Final = 1e-6
_SQRT5: Final = math.sqrt(5)
# Log-normal beliefs (mean, standard deviation of the log) about length scales, amplitude and noise. That about
# length scales is for a single parameter; see `_usual_length`.
_LENGTH: Final = (math.log(0.7), 1.0)
_AMPLITUDE: Final = (0.0, 1.0)
_NOISE: Final = (math.log(0.01), 1.5)
_LENGTH_BOUNDS: Final = (math.log(0.05), math.log(20))
_AMPLITUDE_BOUNDS: Final = (-3.0, 3.0)
_NOISE_BOUNDS: Final = (math.log(1e-5), math.log(0.5))


@dataclass(frozen=True)
class Rows:
    """What a Gaussian process is told, or asked."""

    x: Floats
    """[rows, columns]."""
    task: NDArray[np.intp]
    """[rows]: which task a row belongs to; 0 is the one of interest."""

    def take(self, index: NDArray[np.intp]) -> Rows:
        """Returns some of the rows."""
        return Rows(self.x[index], self.task[index])

    @staticmethod
    def joined(blocks: Sequence[Rows]) -> Rows:
        """Returns the rows of all the blocks."""
        return Rows(np.concatenate([b.x for b in blocks]), np.concatenate([b.task for b in blocks]))


@dataclass(frozen=True)
class Kernel:
    """Matern 5/2 over the columns, times how much two tasks are alike.

    Tasks follow an intrinsic coregionalisation model (Bonilla et al., 2008): what another task teaches of
    this one is bounded by its weight, however many rows it has.
    """

    groups: NDArray[np.intp]
    """[columns]: columns with the same number share a length scale."""
    likeness: Floats
    """[tasks, tasks], a correlation matrix."""
    theta: Floats
    """Logarithms of the length scale of each group, the amplitude and the noise."""

    @property
    def amplitude(self) -> float:
        """The prior's variance."""
        return math.exp(self.theta[-2])

    @property
    def noise(self) -> float:
        """Variance of a value about the curve."""
        return math.exp(self.theta[-1]) + _JITTER

    def between(self, a: Rows, b: Rows) -> Floats:
        """Returns the covariances, [rows of a, rows of b]."""
        scale = np.exp(-self.theta[:-2])[self.groups]
        left, right = a.x * scale, b.x * scale
        squared = (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2 * left @ right.T
        covariance = self.amplitude * _matern(np.maximum(squared, 0))[0]
        if len(self.likeness) > 1:
            covariance *= self.likeness[a.task[:, None], b.task[None, :]]
        return covariance


class GaussianProcess:
    """The posterior of a zero-mean Gaussian process given rows and values of mean about 0 and variance about 1."""

    def __init__(self, kernel: Kernel, rows: Rows, y: Floats) -> None:
        self._kernel, self._rows = kernel, rows
        covariance = kernel.between(rows, rows)
        covariance[np.diag_indices_from(covariance)] += kernel.noise
        self._factor = np.linalg.cholesky(covariance)
        self._weights = self._solved(self._solved(y), transposed=True)

    def _solved(self, right: Floats, *, transposed: bool = False) -> Floats:
        from scipy.linalg import solve_triangular

        solved: Floats = solve_triangular(self._factor, right, lower=True, trans=int(transposed), check_finite=False)
        return solved

    def mean(self, at: Rows) -> Floats:
        """Returns the expected values, [rows]."""
        mean: Floats = self._kernel.between(at, self._rows) @ self._weights
        return mean

    def mean_and_deviation(self, at: Rows) -> tuple[Floats, Floats]:
        """Returns the expected values and their standard deviations, noise left out, each [rows]."""
        cross = self._kernel.between(self._rows, at)
        reduced = self._solved(cross)
        variance = self._kernel.amplitude - np.einsum("ij,ij->j", reduced, reduced)
        return cross.T @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def draws(self, at: Rows, count: int, rng: np.random.Generator) -> Floats:
        """Returns joint samples of the values, noise left out, [count, rows]."""
        cross = self._kernel.between(self._rows, at)
        reduced = self._solved(cross)
        covariance = self._kernel.between(at, at) - reduced.T @ reduced
        covariance[np.diag_indices_from(covariance)] += _JITTER * self._kernel.amplitude * 10
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        draws: Floats = cross.T @ self._weights + rng.standard_normal((count, len(values))) @ root.T
        return draws


def fit_kernel(kernel: Kernel, rows: Rows, y: Floats, *, steps: int) -> Kernel:
    """Returns the kernel with the most probable length scales, amplitude and noise (MAP, L-BFGS).

    Args:
        kernel: where the search begins.
        rows: some rows, at most a few hundred: the time grows with the cube of their number.
        y: their values.
        steps: iterations at most.
    """
    from scipy.optimize import minimize

    groups = len(kernel.theta) - 2
    pairs = np.tril_indices(len(y), -1)
    squares = np.stack(
        [
            ((rows.x[pairs[0]][:, columns] - rows.x[pairs[1]][:, columns]) ** 2).sum(1)
            for columns in (kernel.groups == group for group in range(groups))
        ]
    )
    target = _Target(pairs, squares, kernel.likeness[rows.task[pairs[0]], rows.task[pairs[1]]], y)
    bounds = [_LENGTH_BOUNDS] * groups + [_AMPLITUDE_BOUNDS, _NOISE_BOUNDS]
    found = minimize(
        target,
        kernel.theta,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": steps, "maxfun": 2 * steps},
    )
    return Kernel(kernel.groups, kernel.likeness, np.asarray(found.x))


def first_kernel(groups: NDArray[np.intp], likeness: Floats) -> Kernel:
    """Returns the kernel at the middle of what is believed before any value is seen."""
    count = int(groups.max(initial=-1)) + 1
    return Kernel(groups, likeness, np.array([*[_usual_length(count)] * count, _AMPLITUDE[0], _NOISE[0]]))


def _usual_length(groups: int) -> float:
    """Returns the mean log length scale before any value is seen.

    Distances in a cube grow with the root of its dimensions. Length scales that grow with them keep the model from
    believing that no point tells of any other where there are many parameters (Hvarfner et al., 2024).
    """
    return _LENGTH[0] + 0.5 * math.log(max(1, groups))


class _Target:
    """Negative log posterior of theta, with its gradient; works on the pairs of rows below the diagonal."""

    def __init__(self, pairs: tuple[Indices, Indices], squares: Floats, likeness: Floats, y: Floats) -> None:
        from scipy.linalg import lapack

        self._lapack = lapack
        self._pairs, self._squares, self._likeness, self._y = pairs, squares, likeness, y
        groups = len(squares)
        self._middle = np.array([_usual_length(groups)] * groups + [_AMPLITUDE[0], _NOISE[0]])
        self._spread = np.array([_LENGTH[1]] * groups + [_AMPLITUDE[1], _NOISE[1]])

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        inverse_squares = np.exp(-2 * theta[:-2])
        amplitude, noise = math.exp(theta[-2]), math.exp(theta[-1])
        shape, slope = _matern(inverse_squares @ self._squares)
        covariance = np.diag(np.full(len(self._y), amplitude + noise + _JITTER))
        covariance[self._pairs] = amplitude * self._likeness * shape
        factor, failed = self._lapack.dpotrf(covariance, lower=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        weights, _ = self._lapack.dpotrs(factor, self._y, lower=1)
        inverse, _ = self._lapack.dpotri(factor, lower=1)
        off = (theta - self._middle) / self._spread
        value = 0.5 * float(self._y @ weights) + float(np.log(np.diag(factor)).sum()) + 0.5 * float(off @ off)
        # How the value answers to each covariance: half the inverse less the weights' products, and each pair twice.
        pull = amplitude * self._likeness * (inverse[self._pairs] - weights[self._pairs[0]] * weights[self._pairs[1]])
        own = 0.5 * float(np.trace(inverse) - weights @ weights)
        gradient = np.empty_like(theta)
        gradient[:-2] = inverse_squares * (self._squares @ (pull * slope))
        gradient[-2] = float(pull @ shape) + amplitude * own
        gradient[-1] = noise * own
        return value, gradient + off / self._spread


def _matern(squared: Floats) -> tuple[Floats, Floats]:
    """Returns Matern 5/2 at squared distances, and -2 times its derivative by the squared distance."""
    distance = _SQRT5 * np.sqrt(squared)
    decay = np.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, (5 / 3) * (1 + distance) * decay

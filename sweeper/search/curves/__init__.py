"""Search by learning curves: a Gaussian process over points and epochs says which point is worth a trial."""

from sweeper.search.curves.outlook import GivenUp
from sweeper.search.curves.sampler import CurvesSampler, direction, observations
from sweeper.search.curves.search import CurveSearch, startup_trials

__all__ = ["CurveSearch", "CurvesSampler", "GivenUp", "direction", "observations", "startup_trials"]

"""2. Which point next: the Optuna study is the sweep's ledger. The only import of optuna."""

from sweeper.search.advice import Advice, EarlierSweep, EarlierTrial, Point
from sweeper.search.curves import GivenUp
from sweeper.search.ledger import Ledger, open_ledger, require_no_ledger, storage_url
from sweeper.search.prior import BackbonePrior, LogPrior, first_points, settle_prior

__all__ = [
    "Advice",
    "BackbonePrior",
    "EarlierSweep",
    "EarlierTrial",
    "GivenUp",
    "Ledger",
    "LogPrior",
    "Point",
    "first_points",
    "open_ledger",
    "require_no_ledger",
    "settle_prior",
    "storage_url",
]

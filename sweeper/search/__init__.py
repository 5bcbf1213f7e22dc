"""2. Which point next: the Optuna study is the sweep's ledger. The only import of optuna."""

from sweeper.search.advice import Advice, EarlierSweep, EarlierTrial, Point
from sweeper.search.curves import GivenUp
from sweeper.search.earlier import Matching, match, read_study
from sweeper.search.ledger import Ledger, open_ledger
from sweeper.search.prior import BackbonePrior, LogPrior, family_name, first_points, settle_prior
from sweeper.search.storage import require_no_ledger, storage_url, with_storage

__all__ = [
    "Advice",
    "BackbonePrior",
    "EarlierSweep",
    "EarlierTrial",
    "GivenUp",
    "Ledger",
    "LogPrior",
    "Matching",
    "Point",
    "family_name",
    "first_points",
    "match",
    "open_ledger",
    "read_study",
    "require_no_ledger",
    "settle_prior",
    "storage_url",
    "with_storage",
]

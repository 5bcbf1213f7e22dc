"""2. Which point next: the Optuna study is the sweep's ledger. The only import of optuna."""

from sweeper.search.advice import Advice, EarlierSweep, EarlierTrial, Point
from sweeper.search.curves import GivenUp
from sweeper.search.earlier import Matching, match, read_study
from sweeper.search.ledger import Ledger
from sweeper.search.opening import open_ledger
from sweeper.search.prior import BackbonePrior, LogPrior, family_name, first_points, settle_prior
from sweeper.search.seeds import SeedLedger, open_seed_ledger, seed_spec
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
    "SeedLedger",
    "family_name",
    "first_points",
    "match",
    "open_ledger",
    "open_seed_ledger",
    "read_study",
    "require_no_ledger",
    "seed_spec",
    "settle_prior",
    "storage_url",
    "with_storage",
]

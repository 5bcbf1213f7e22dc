"""2. Which point next: the Optuna study is the sweep's ledger. The only import of optuna."""

from sweeper.search.advice import Advice, EarlierSweep, EarlierTrial, Point
from sweeper.search.ledger import Ledger, open_ledger, require_no_ledger, storage_url

__all__ = [
    "Advice",
    "EarlierSweep",
    "EarlierTrial",
    "Ledger",
    "Point",
    "open_ledger",
    "require_no_ledger",
    "storage_url",
]

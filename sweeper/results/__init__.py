"""6. What came out: the ledger's records, ranked and summed up. Knows neither ray nor mlflow nor torch."""

from sweeper.results.leaderboard import Leaderboard, Row, rank
from sweeper.results.status import SweepStatus, status_of

__all__ = ["Leaderboard", "Row", "SweepStatus", "rank", "status_of"]

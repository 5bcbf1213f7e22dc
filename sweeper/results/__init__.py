"""6. What came out: the ledger's records, ranked and summed up. Knows neither ray nor mlflow nor torch."""

from sweeper.results.leaderboard import Leaderboard, Row, rank, rank_for
from sweeper.results.pareto import pareto_front
from sweeper.results.status import Sight, SweepStatus, status_of

__all__ = ["Leaderboard", "Row", "Sight", "SweepStatus", "pareto_front", "rank", "rank_for", "status_of"]

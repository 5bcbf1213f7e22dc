"""6. What came out: the ledger's records, ranked and summed up. Knows neither ray nor mlflow nor torch."""

from sweeper.results.confirmation import Candidate, Confirmation, Duel, confirmation_of, with_test
from sweeper.results.diff import Images, Side, TrialDiff, diff_trials, first_parting
from sweeper.results.groups import Group, Groups, grouped
from sweeper.results.leaderboard import Leaderboard, Row, rank, rank_for, with_costs
from sweeper.results.pareto import pareto_front
from sweeper.results.scores import ImageScores, image_scores
from sweeper.results.status import Sight, SweepStatus, status_of
from sweeper.results.uncertainty import with_intervals

__all__ = [
    "Candidate",
    "Confirmation",
    "Duel",
    "Group",
    "Groups",
    "ImageScores",
    "Images",
    "Leaderboard",
    "Row",
    "Side",
    "Sight",
    "SweepStatus",
    "TrialDiff",
    "confirmation_of",
    "diff_trials",
    "first_parting",
    "grouped",
    "image_scores",
    "pareto_front",
    "rank",
    "rank_for",
    "status_of",
    "with_costs",
    "with_intervals",
    "with_test",
]

"""The best trade-offs between several objectives."""

from __future__ import annotations

from sweeper.errors import InputError
from sweeper.results.leaderboard import Leaderboard


def pareto_front(board: Leaderboard) -> Leaderboard:
    """Returns only the trials that no other one beats in one objective without losing in another.

    They keep the ranks they have among all trials, the best by the first objective first.

    Raises:
        InputError: the sweep has one objective; its front is its winner.
    """
    if not board.also:
        raise InputError(
            f"A front needs several objectives, but this sweep has one, `{board.objective}`; name others in "
            "`search.also` of the next one."
        )
    return board.model_copy(update={"rows": tuple(row for row in board.rows if row.on_front)})

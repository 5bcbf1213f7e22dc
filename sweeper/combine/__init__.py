"""More from the same trials: a soup of weights, an ensemble, and one model that learned from it.

Read in this order: `outcome` (what is told of each), `judging` (which images choose, which judge), `soup`, `ensemble`,
`distilled`, `run`.
"""

from sweeper.combine.outcome import Candidate, CombineOutcome, read_outcome
from sweeper.combine.run import CombineRequest, combine

__all__ = ["Candidate", "CombineOutcome", "CombineRequest", "combine", "read_outcome"]

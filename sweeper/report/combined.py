"""What was made of the sweep's models together: soup, ensemble, distilled model."""

from __future__ import annotations

from sweeper.combine.outcome import Candidate, CombineOutcome, read_outcome
from sweeper.report.section import Section
from sweeper.report.source import Source


class Combined(Section):
    """What `sweeper combine` found."""

    outcome: CombineOutcome | None = None

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """Those that helped."""
        return tuple(one for one in self.outcome.candidates if one.kept) if self.outcome else ()


def combined_of(source: Source) -> Combined:
    """Returns it, if anybody has asked."""
    outcome = read_outcome(source.paths)
    if outcome is None:
        return Combined(
            nothing="Nobody has put this sweep's models together; "
            f"`sweeper combine {source.spec.name}` tries a soup of weights and an ensemble."
        )
    return Combined(outcome=outcome)

"""What a sweep's search starts from: settled once, kept in its folder, the same at every resume."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sweeper.driver.look import FirstLook, LookAt, first_look, is_wanted, sentences
from sweeper.driver.observer import SweepObserver
from sweeper.driver.warm_start import EarlierSearch
from sweeper.paths import SweepPaths, written_aside
from sweeper.records import ParamValue
from sweeper.search import Advice, BackbonePrior, LogPrior, first_points, settle_prior
from sweeper.spec import SweepSpec


class SweepAdvice(BaseModel):
    """The contents of a sweep's `advice.json`."""

    model_config = ConfigDict(frozen=True)

    priors: tuple[BackbonePrior, ...] = ()
    first_look: FirstLook = FirstLook()
    first_points: tuple[dict[str, ParamValue], ...] = ()
    """From the priors; those of the backbones that looked best run first."""
    earlier: tuple[EarlierSearch, ...] = ()
    """The trials of earlier searches, as they were when this sweep began."""

    def for_search(self, spec: SweepSpec) -> Advice:
        """Returns it as the search takes it."""
        weights = self.first_look.weights if "backbone" in spec.space else {}
        return Advice(
            log_prior=LogPrior(spec, self.priors, weights) if self.priors or weights else None,
            earlier=tuple(one.for_search() for one in self.earlier),
            first_points=self.first_points,
        )


def settle_advice(
    spec: SweepSpec, earlier: tuple[EarlierSearch, ...], look: LookAt, observer: SweepObserver
) -> SweepAdvice:
    """Collects what the spec allows the search to start from, and tells of it.

    Args:
        spec: the sweep.
        earlier: what `earlier_searches` returned.
        look: what looks at a backbone.
        observer: hears what is used.

    Raises:
        SpecError: a prior file cannot be used.
    """
    priors = settle_prior(spec)
    found = first_look(spec, look, observer) if is_wanted(spec) else FirstLook()
    advice = SweepAdvice(
        priors=priors,
        first_look=found,
        first_points=first_points(spec, priors, ranking=found.ranking),
        earlier=earlier,
    )
    for sentence in [*sentences(found), *_told(advice), *(one.sentence for one in earlier)]:
        observer.note(sentence)
    return advice


def write_advice(paths: SweepPaths, advice: SweepAdvice) -> None:
    """Keeps it in the sweep's folder."""
    with written_aside(paths.advice) as aside:
        aside.write_text(advice.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_advice(paths: SweepPaths) -> SweepAdvice:
    """Returns what the sweep started from; nothing for a sweep that is older than advice."""
    if not paths.advice.exists():
        return SweepAdvice()
    return SweepAdvice.model_validate_json(paths.advice.read_bytes())


def _told(advice: SweepAdvice) -> list[str]:
    families = list(dict.fromkeys(prior.family for prior in advice.priors))
    if not families:
        return []
    names = list(dict.fromkeys(belief.parameter for prior in advice.priors for belief in prior.beliefs))
    about = f" about {', '.join(f'`{name}`' for name in names)}" if names else ""
    count = len(advice.first_points)
    return [
        f"prior: {', '.join(families)}{about}; {count} first point{'' if count == 1 else 's'}; `advice.json` in the "
        "sweep's folder names the sources, `--no-prior` leaves it out"
    ]

"""The answer first: which backbone and settings, how good and how sure, at what cost, and where the model lies."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from sweeper.records import METRICS, ParamValue, TrialState
from sweeper.report.section import Section, Value
from sweeper.report.source import Source
from sweeper.report.words import counted, duration, measured, settings
from sweeper.results.confirmed import sentences

_NAMED: Final = 8


class Fact(Value):
    """A number with its name."""

    name: str
    value: str
    note: str = ""


class Answer(Section):
    """What came out of the sweep."""

    sentence: str
    """The whole answer."""
    state: str
    """One sentence on how far the sweep is."""
    sure: str = ""
    """What the validation images cannot tell; empty where they tell the winner from all others, or nothing is known."""
    confirmed: tuple[str, ...] = ()
    """Sentences on what runs over seeds, and the held-out test, say; empty where there were none."""
    facts: tuple[Fact, ...] = ()
    trial: int | None = None
    backbone: str | None = None
    settings: dict[str, ParamValue] = Field(default_factory=dict)
    """What was searched, of the winner."""
    folder: str | None = None
    """Where the winner's weights lie."""
    use: tuple[str, ...] = ()
    """Commands that go on from here."""


def answer_of(source: Source) -> Answer:
    """Returns the answer, as far as there is one."""
    winner, state = source.winner, _state(source)
    if winner is None:
        sentence = _no_answer(source)
        return Answer(sentence=sentence, state=state, nothing=sentence)
    name = source.spec.name
    folder = source.paths.trial(winner.number)
    return Answer(
        sentence=_sentence(source),
        state=state,
        sure=_how_sure(source),
        confirmed=tuple(sentences(source.confirmation)) if source.confirmation else (),
        facts=tuple(_facts(source)),
        trial=winner.number,
        backbone=source.config.backbone,
        settings=winner.params,
        folder=str(folder.root) if folder.best.is_file() else None,
        use=(
            f"sweeper export {name} --to model --format all",
            f"sweeper predict {name} photos/ --csv",
            f"sweeper leaderboard {name}",
        ),
    )


def _sentence(source: Source) -> str:
    winner = source.winner
    assert winner is not None
    metric, params = source.metric, {k: v for k, v in winner.params.items() if k != "backbone"}
    quality = f"{measured(metric.name, winner.best.value(metric.name))} {metric.title}"
    tried = len({source.backbone_of(record) for record in source.records if record.epochs})
    among = f", the best of {tried} backbones," if tried > 1 else ""
    so_far = "So far " if _unfinished(source) else ""
    with_ = f" with {settings(params)}" if params else ""
    return f"{so_far}{source.config.backbone}{among} reaches {quality}{_on_images(source)}{with_}."


def _on_images(source: Source) -> str:
    images = source.board.images or (source.prepared.images.get("val") if source.prepared else None)
    interval = source.winner.interval if source.winner else None
    sure = f" (95 % interval {_span(source, interval)})" if interval else ""
    return f" on {images:,} validation images{sure}" if images else ""


def _span(source: Source, interval: tuple[float, float]) -> str:
    low, high = (measured(source.metric.name, edge) for edge in interval)
    return f"{low.removesuffix(' %')} to {high}"


def _how_sure(source: Source) -> str:
    """Says which trials the validation images cannot tell from the winner."""
    level = {row.number for row in source.board.rows[1:] if row.is_level}
    if source.confirmation is not None or not level:
        return ""
    named = ", ".join(map(str, sorted(level)[:_NAMED]))
    more = f" and {len(level) - _NAMED} more" if len(level) > _NAMED else ""
    backbones = {source.backbone_of(record) for record in source.records if record.number in level}
    others = ", ".join(sorted(backbones - {source.config.backbone}))
    also = f", among them trials of {others}" if others else ""
    return (
        f"These images cannot tell it from trial{'s' if len(level) > 1 else ''} {named}{more}{also}. It was chosen by "
        "the very images it is judged on, so its figure is somewhat too good."
    )


def _facts(source: Source) -> list[Fact]:
    winner, search = source.winner, source.spec.search
    assert winner is not None
    facts = [
        Fact(
            name=METRICS[name].title,
            value=measured(name, winner.best.value(name)),
            note=f"epoch {winner.best.epoch} of {winner.epochs}" if name == search.objective else "",
        )
        for name in dict.fromkeys((search.objective, *search.also, *search.constraints, "top1", "macro_f1"))
    ]
    seconds = sum(record.seconds for record in source.records)
    facts.append(Fact(name="training in all", value=duration(seconds), note=counted(len(_run(source)), "trial")))
    if winner.best.parameters:
        facts.append(Fact(name="size", value=f"{winner.best.parameters / 1e6:.2f} M", note="parameters"))
    if winner.best.latency_ms and "latency_ms" not in (search.objective, *search.also, *search.constraints):
        facts.append(Fact(name="an image takes", value=f"{winner.best.latency_ms:.3g} ms", note="where it was trained"))
    return facts


def _run(source: Source) -> list[int]:
    return [record.number for record in source.records if record.attempts]


def _unfinished(source: Source) -> bool:
    return (
        source.alive
        or any(not record.state.is_finished for record in source.records)
        or (len(source.records) < source.total and source.ended is None)
    )


def _state(source: Source) -> str:
    states = [record.state for record in source.records]
    done = sum(state.is_finished for state in states)
    if source.alive:
        return f"The sweep is running: {done} of {counted(source.total, 'trial')} are done."
    if _unfinished(source):
        return (
            f"The sweep was stopped: {done} of {counted(source.total, 'trial')} are done; "
            f"`sweeper resume {source.spec.name}` goes on."
        )
    early, failed = states.count(TrialState.STOPPED), states.count(TrialState.FAILED)
    parts = [f"{count} {word}" for count, word in ((early, "stopped early"), (failed, "failed")) if count]
    told = f" ({', '.join(parts)})" if parts else ""
    return f"The sweep is finished: {counted(done, 'trial')}{told}.{f' {source.ended}' if source.ended else ''}"


def _no_answer(source: Source) -> str:
    failed = sum(record.state is TrialState.FAILED for record in source.records)
    if source.board.rows:
        return "There is no winner: every trial breaks a constraint of `search.constraints`."
    if failed and failed == len(source.records):
        return (
            f"There is no answer: all {failed} trials failed."
            if failed > 1
            else "There is no answer: its trial failed."
        )
    return "There is no answer yet: no trial has finished an epoch."

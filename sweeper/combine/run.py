"""A sweep's models put together: the story that `sweeper combine` tells."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sweeper.backbones import read_saved_model
from sweeper.combine.distilled import distil
from sweeper.combine.ensemble import Chosen, choose_ensemble
from sweeper.combine.judging import Judge
from sweeper.combine.outcome import Candidate, CombineOutcome, write_outcome
from sweeper.combine.soup import Pot, make_soup, save_soup
from sweeper.errors import ModelError
from sweeper.folder import read_spec
from sweeper.paths import CachePaths, SweepPaths
from sweeper.predictions import Predictions, read_predictions
from sweeper.results import Leaderboard, Row, rank_for
from sweeper.search import open_ledger, storage_url
from sweeper.spec import SweepSpec, resolve
from sweeper.trial.device import find_machine
from sweeper.trial.ensemble import Ensemble, EnsembleMember, read_ensemble, write_ensemble
from sweeper.trial.runtime import Runtime

_MOST_TRIALS: Final = 20
"""Trials that are looked at, the best ones."""


class CombineObserver:
    """Hears what is tried; every method may be overridden and does nothing otherwise."""

    def note(self, message: str) -> None:
        """Something a person should know, in one sentence."""


@dataclass(frozen=True)
class CombineRequest:
    """What is asked."""

    distil: bool = False
    """Whether to train one more trial with the ensemble as its teacher, which takes as long as a trial and more."""
    device: str = "auto"
    """`cpu`, `cuda:<index>` or `auto`."""
    cache: CachePaths = field(default_factory=CachePaths.default)
    """Where decoded images lie."""


def combine(paths: SweepPaths, request: CombineRequest, observer: CombineObserver | None = None) -> CombineOutcome:
    """Makes a soup, an ensemble and, if asked for, a distilled model, and keeps each that helps.

    One half of the validation images chooses, the other judges, as what is chosen by images looks too good on them.

    Args:
        paths: of the sweep.
        request: what is asked.
        observer: hears what is tried.

    Raises:
        ModelError: fewer than two trials have weights and answers here.
        InputError: the images, the device or the sweep cannot be had.
    """
    work = _Work.open(paths, request, observer or CombineObserver())
    soup = work.soup()
    chosen, ensemble = work.ensemble()
    candidates = [soup, ensemble, *work.distilled(chosen, ensemble)]
    outcome = CombineOutcome(
        metric=work.judge.metric,
        choosing=len(work.judge.choosing),
        judging=len(work.judge.judging),
        best=work.best.number,
        candidates=tuple(candidates),
    )
    write_outcome(outcome, paths)
    return outcome


@dataclass(frozen=True, eq=False)
class _Work:
    spec: SweepSpec
    paths: SweepPaths
    request: CombineRequest
    observer: CombineObserver
    rows: dict[int, Row]
    """The trials that can take part, the best first."""
    said: dict[int, Predictions]
    judge: Judge

    @classmethod
    def open(cls, paths: SweepPaths, request: CombineRequest, observer: CombineObserver) -> _Work:
        spec = read_spec(paths)
        records = open_ledger(spec, storage_url(spec, paths), create=False).records()
        found = dict(_taking_part(paths, rank_for(records, spec.search)))
        if len(found) < 2:
            raise ModelError(
                "Models are put together of two or more trials whose weights and answers are in the sweep's folder, "
                f"but `{spec.name}` has {len(found)}."
            )
        said = {number: answers for number, (_, answers) in found.items()}
        rows = {number: row for number, (row, _) in found.items()}
        return cls(
            spec, paths, request, observer, rows, said, Judge.of(spec.search.objective, next(iter(said.values())))
        )

    @property
    def best(self) -> Row:
        return next(iter(self.rows.values()))

    def soup(self) -> Candidate:
        """Tries the trials of the best one's backbone."""
        backbone = self._backbone(self.best)
        numbers = [number for number, row in self.rows.items() if self._backbone(row) == backbone]
        to = self.paths.combined.soup
        shutil.rmtree(to.root, ignore_errors=True)
        if len(numbers) < 2:
            return Candidate(kind="soup", note=f"`{backbone}` has no second trial whose weights are here.")
        self.observer.note(f"Tasting soups of {len(numbers)} trials of {backbone}.")
        machine = find_machine(self.request.device, precision="fp32")
        saved = read_saved_model(self.paths.trial(numbers[0]).root)
        pot = Pot(saved, self.said[numbers[0]], machine, self.request.cache)
        made = make_soup(self.paths, numbers, pot, self.judge, self._taste)
        if len(made.trials) == 1:
            return Candidate(kind="soup", trials=made.trials, note="No second trial's weights helped.")
        judged = self._judged("soup", made.said, made.single, made.trials)
        if judged.kept:
            save_soup(made, self.paths, to)
        return judged.model_copy(update={"latency": 1.0, "parameters": 1.0, "folder": self._below(judged, "soup")})

    def ensemble(self) -> tuple[Chosen, Candidate]:
        """Tries all trials, whatever their backbones."""
        self.observer.note(f"Choosing an ensemble among {len(self.rows)} trials.")
        chosen = choose_ensemble(self.said, self.judge)
        folder = self.paths.combined.ensemble
        if len(set(chosen.draws)) == 1:
            shutil.rmtree(folder.root, ignore_errors=True)
            return chosen, Candidate(kind="ensemble", trials=chosen.draws[:1], note="No second trial's answers helped.")
        judged = self._judged("ensemble", chosen.said, self.said[self.best.number], chosen.draws)
        if not judged.kept:
            shutil.rmtree(folder.root, ignore_errors=True)
            return chosen, judged.model_copy(update=self._costs(chosen))
        members = tuple(
            EnsembleMember(
                folder=f"../../trials/{self.paths.trial(number).root.name}",
                weight=weight,
                temperature=chosen.temperatures[number],
            )
            for number, weight in chosen.weights.items()
        )
        ensemble = Ensemble(members=members)
        if read_ensemble(folder.root) != ensemble:
            shutil.rmtree(self.paths.combined.distilled.root, ignore_errors=True)  # it learned from another one
            write_ensemble(ensemble, folder)
        return chosen, judged.model_copy(update={**self._costs(chosen), "folder": self._below(judged, "ensemble")})

    def distilled(self, chosen: Chosen, ensemble: Candidate) -> Iterator[Candidate]:
        """Trains the student, if that is asked for and there is a teacher."""
        if not self.request.distil:
            return
        if not ensemble.kept:
            yield Candidate(kind="distilled", note="There is no ensemble that helps, so nothing to learn from.")
            return
        self.observer.note(f"Training one model with {len(set(chosen.draws))} teachers.")
        said = distil(
            resolve(self.spec, self.best.params),
            self.paths.combined.ensemble.root,
            self.paths.combined.distilled,
            runtime=Runtime(self.request.device, threads=os.cpu_count() or 1, cache=self.request.cache),
            on_epoch=lambda epoch: self.observer.note(
                f"distilled: epoch {epoch.epoch}, {self.judge.metric} {epoch.value(self.judge.metric):.4f}"
            ),
        )
        single = self.said[self.best.number]
        if not said.is_of_same_images(single):
            raise ModelError("The validation images have changed since the sweep, so the student cannot be judged.")
        judged = self._judged("distilled", said, single, chosen.draws)
        yield judged.model_copy(update={"latency": 1.0, "parameters": 1.0, "folder": self._below(judged, "distilled")})

    def _judged(self, kind: str, said: Predictions, single: Predictions, trials: tuple[int, ...]) -> Candidate:
        _, interval = self.judge.gain(said, over=single)
        return Candidate(
            kind=kind,
            trials=trials,
            single=self.judge.judges(single),
            value=self.judge.judges(said),
            interval=interval,
            kept=self.judge.helps(said, over=single),
        )

    def _costs(self, chosen: Chosen) -> dict[str, float | None]:
        """Returns latency and size of all members together, in those of the best single trial."""
        members = [self.rows[number].best for number in set(chosen.draws)]
        costs: dict[str, float | None] = {}
        for name, own in (("latency", "latency_ms"), ("parameters", "parameters")):
            values = [epoch.value(own) for epoch in members]
            total = sum(values) / self.best.best.value(own)
            costs[name] = total if total == total else None  # not a number where one was not measured
        return costs

    def _backbone(self, row: Row) -> str:
        return self.spec.backbone_of(row.params) or ""

    def _below(self, judged: Candidate, name: str) -> str | None:
        return f"{self.paths.combined.root.name}/{name}" if judged.kept else None

    def _taste(self, number: int, is_in: bool) -> None:
        self.observer.note(f"trial {number}: {'in the soup' if is_in else 'left out'}")


def _taking_part(paths: SweepPaths, board: Leaderboard) -> Iterator[tuple[int, tuple[Row, Predictions]]]:
    """Yields the best trials whose weights and answers are here, if all answer the same images."""
    first: Predictions | None = None
    found = 0
    for row in board.rows:
        files = paths.trial(row.number)
        said = read_predictions(files.predictions) if files.best.is_file() and not row.breaks else None
        if said is None or said.info.epoch != row.best.epoch or (first and not said.is_of_same_images(first)):
            continue
        first = first or said
        yield row.number, (row, said)
        found += 1
        if found == _MOST_TRIALS:
            return

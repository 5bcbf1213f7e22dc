"""What a report is made from: a sweep's folder, its ledger, and what is still there of its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from sweeper.data import ImageCache, Prepared, open_prepared, read_prepared
from sweeper.errors import CacheError, DataError, ModelError, SweeperError
from sweeper.folder import is_running, read_spec
from sweeper.paths import CachePaths, SweepPaths
from sweeper.planning.plan import Plan, read_plan
from sweeper.predictions import Predictions, read_predictions
from sweeper.records import METRICS, EpochMetrics, Metric, Spent, TrialRecord
from sweeper.results import Confirmation, Leaderboard, Row, rank_for, with_costs, with_intervals
from sweeper.results.confirmed import read_confirmation
from sweeper.search import GivenUp, open_ledger, storage_url
from sweeper.spec import SweepSpec, TrialConfig, resolve
from sweeper.tracking import Environment
from sweeper.trial.phases import stored_data


@dataclass(frozen=True, eq=False)
class Source:
    """One sweep, as it is now; what is costly is looked up when a section asks for it."""

    spec: SweepSpec
    sweep_id: str
    """Names this sweep and no other."""
    paths: SweepPaths
    cache: CachePaths
    records: tuple[TrialRecord, ...]
    """Every trial that was asked for, by number."""
    total: int
    """Trials the finished sweep will have."""
    alive: bool
    """Whether a driver works on it."""
    spent: Spent
    ended: str | None
    """Why it is finished with fewer trials."""
    importances: dict[str, float]
    """Share of each parameter in what sets good trials apart; empty where there are too few trials."""
    given_up: tuple[GivenUp, ...]

    @classmethod
    def of(cls, paths: SweepPaths, cache: CachePaths, *, alive: bool | None = None) -> Source:
        """Reads a sweep.

        Args:
            paths: its folder.
            cache: where decoded images lie.
            alive: whether it runs; by default whether a driver holds it.

        Raises:
            SweepFolderError: it has no trials yet.
            InputError: its spec or its ledger cannot be read.
        """
        spec = read_spec(paths)
        ledger = open_ledger(spec, storage_url(spec, paths), create=False)
        return cls(
            spec=spec,
            sweep_id=ledger.sweep_id,
            paths=paths,
            cache=cache,
            records=ledger.records(),
            total=ledger.total,
            alive=is_running(paths) if alive is None else alive,
            spent=ledger.spent,
            ended=ledger.ended,
            importances=ledger.importances(),
            given_up=ledger.given_up(),
        )

    @property
    def metric(self) -> Metric:
        """The objective."""
        return METRICS[self.spec.search.objective]

    @cached_property
    def board(self) -> Leaderboard:
        """The ranking, with intervals and costs."""
        seconds = sum(record.seconds for record in self.records)
        gpus = self.spent.gpu_hours * 3600 / seconds if seconds else 0.0
        board = with_costs(rank_for(self.records, self.spec.search), gpus=gpus, importance=self.importances)
        return with_intervals(board, self.said)

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """What runs over seeds say of the best trials; None where there were none, or they cannot be read."""
        try:
            return read_confirmation(self.spec, self.paths)
        except SweeperError:
            return None

    @property
    def winner(self) -> Row | None:
        """The trial that runs over seeds confirmed, else the first of the ranking."""
        confirmed = self.confirmation.winner if self.confirmation else None
        return next((row for row in self.board.rows if row.number == confirmed), self.board.best)

    def best(self, record: TrialRecord) -> EpochMetrics | None:
        """Returns a trial's best epoch."""
        return record.best_epoch(self.metric.name)

    def backbone_of(self, record: TrialRecord) -> str:
        """Returns a trial's backbone; empty for a queued point that leaves it open."""
        return self.spec.backbone_of(record.params) or ""

    @cached_property
    def config(self) -> TrialConfig:
        """The winner's settings; where there is none, those of the file with its first backbone."""
        return resolve(self.spec, self.winner.params if self.winner else {"backbone": self.spec.backbones[0]})

    @cached_property
    def prepared(self) -> Prepared | None:
        """What the images were when the sweep began."""
        return read_prepared(self.paths)

    @cached_property
    def plan(self) -> Plan | None:
        """What the sweep was expected to cost."""
        return read_plan(self.paths)

    @cached_property
    def images(self) -> ImageCache | str:
        """The decoded images of the winner, if they are those of the sweep; else a sentence on why not."""
        try:
            found = open_prepared(stored_data(self.config), self.cache)
        except (CacheError, DataError) as error:
            return f"The photos cannot be shown: {error}"
        if self.prepared is not None and found.split_fingerprint != self.prepared.split_fingerprint:
            return "The photos cannot be shown: the images have changed since the sweep began."
        return found

    def said(self, number: int) -> Predictions | None:
        """Returns what a trial's best epoch said of each validation image; None where that is not here."""
        try:
            return read_predictions(self.paths.trial(number).predictions)
        except ModelError:
            return None

    @cached_property
    def predictions(self) -> Predictions | None:
        """Likewise, of the winner."""
        return self.said(self.winner.number) if self.winner else None

    @cached_property
    def environment(self) -> Environment | None:
        """Where the sweep ran, as its driver wrote it down; None for an older sweep."""
        try:
            return Environment.model_validate_json(self.paths.environment.read_bytes())
        except (OSError, ValidationError):
            return None

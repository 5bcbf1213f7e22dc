"""MlflowTracker: a thread that makes MLflow match the records it was last given, whenever MLflow is there."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from sweeper.errors import TrackingError
from sweeper.records import TrialRecord, TrialState
from sweeper.spec import TrialConfig
from sweeper.tracking.answers import RequestRefused, ServerAway
from sweeper.tracking.projection import TrialSummary, trial_summary
from sweeper.tracking.tracker import Backlog, SweepInfo, Tracker
from sweeper.tracking.uri import without_password

if TYPE_CHECKING:
    from sweeper.tracking.mlflow import MlflowRuns

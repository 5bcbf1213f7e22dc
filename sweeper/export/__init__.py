"""A trained model leaves the sweep: exported, opened anywhere, asked about pictures. Needs no ray, optuna or mlflow.

Read in this order: `info` (what goes with a network), `model` (ask one), `predict` (many files), `run` (export one),
`writing` (each file compared with the original), `calibration`.
"""

from sweeper.export.model import Guess, Model, Prediction, load_model
from sweeper.export.predict import PredictOptions, Unreadable, predict_files
from sweeper.export.report import Check, ExportReport
from sweeper.export.run import ExportRequest, export_model

__all__ = [
    "Check",
    "ExportReport",
    "ExportRequest",
    "Guess",
    "Model",
    "PredictOptions",
    "Prediction",
    "Unreadable",
    "export_model",
    "load_model",
    "predict_files",
]

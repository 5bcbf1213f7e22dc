"""A trained model becomes a folder that others can use."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from sweeper.backbones import Backbone, SavedModel, describe_backbone, read_saved_model, write_config
from sweeper.errors import ModelError
from sweeper.export.calibration import calibrate
from sweeper.export.card import card_of
from sweeper.export.formats import require_onnx
from sweeper.export.info import ModelInfo, Origin
from sweeper.export.model import info_of
from sweeper.export.networks import TorchNetwork
from sweeper.export.report import ExportReport, top1_of
from sweeper.export.sources import FolderSource, Source, ValidationSource, scores_of
from sweeper.export.writing import OnCheck, Writing
from sweeper.paths import CachePaths, ModelPaths, written_aside
from sweeper.records import EpochMetrics
from sweeper.trial.device import find_machine


@dataclass(frozen=True)
class ExportRequest:
    """What is asked of an export."""

    torch: bool = False
    """Write PyTorch's exported program, beside safetensors and `config.json`, which are always written."""
    onnx: bool = False
    """Write ONNX."""
    int8: bool = False
    """Write ONNX in eight bits as well; `onnx` must be asked for too."""
    images: Path | None = None
    """Folder of images to compare, calibrate and quantise with; None takes the trial's own."""
    device: str = "auto"
    """Where the original runs: `cpu`, `cuda:<index>` or `auto`."""
    cache: CachePaths = field(default_factory=CachePaths.default)
    """Where decoded images lie."""


def export_model(folder: Path, to: Path, request: ExportRequest, *, on_check: OnCheck | None = None) -> ExportReport:
    """Writes the model in `folder` to `to`; why a format could not be written is in the report.

    Args:
        folder: of a finished trial.
        to: a folder that is empty or does not exist.
        request: what is asked for.
        on_check: called with each file's comparison as soon as it is made.

    Raises:
        ModelError: there is no model, `to` is in use, a package is missing, or the folder answers otherwise than
            the trial.
        DataError: there are no images to compare with.
    """
    if request.onnx:
        require_onnx()
    saved, paths = read_saved_model(folder), ModelPaths(to)
    _require_empty(to)
    backbone = saved.build()
    plain = info_of(saved, backbone)
    source = _source(saved, backbone, plain, request)
    device = find_machine(request.device, precision="fp32").device
    logits, labels = scores_of(TorchNetwork(backbone.model, device), source), source.labels
    backbone.model.cpu()
    answered = logits if plain.adjustment is None else logits - np.array(plain.adjustment, np.float32)
    calibration = calibrate(answered, labels) if labels is not None else None
    info = plain.model_copy(update={"temperature": calibration.temperature}) if calibration else plain
    origin = _origin(saved, source)
    _write_base(saved, backbone, paths, {"info": info, "origin": origin, "calibration": calibration})
    writing = Writing(paths, backbone, info, source, logits, on_check or _ignore)
    writing.base()
    writing.traced(torch=request.torch, onnx=request.onnx, int8=request.int8)
    report = ExportReport(
        folder=to,
        info=info,
        origin=origin,
        compared_on=source.name,
        images=len(logits),
        top1=top1_of(logits, labels),
        calibration=calibration,
        checks=tuple(writing.checks),
        failures=writing.failures,
    )
    with written_aside(paths.card) as aside:
        aside.write_text(card_of(report, backbone, saved.config), encoding="utf-8")
    return report


def _require_empty(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ModelError(
            f"A model is exported to a new or empty folder, but `{to}` is not; choose another with `--to`."
        )


def _source(saved: SavedModel, backbone: Backbone, info: ModelInfo, request: ExportRequest) -> Source:
    if request.images is not None:
        return FolderSource(request.images, info)
    return ValidationSource(saved, backbone, info, cache=request.cache)


def _write_base(saved: SavedModel, backbone: Backbone, paths: ModelPaths, details: dict[str, BaseModel | None]) -> None:
    """Writes the weights, as they are, and `config.json`."""
    with written_aside(paths.weights) as aside:
        shutil.copyfile(saved.weights, aside)
    dumped = {name: value.model_dump(mode="json") if value else None for name, value in details.items()}
    write_config(paths.config, backbone, saved.config, classes=saved.classes, details=dumped)


def _origin(saved: SavedModel, source: Source) -> Origin:
    folder = saved.folder.absolute()
    in_sweep = folder.parent.name == "trials" and folder.name.isdigit()
    fingerprint = source.fingerprint if isinstance(source, ValidationSource) else None
    return Origin(
        sweep=folder.parent.parent.name if in_sweep else None,
        trial=int(folder.name) if in_sweep else None,
        trial_hash=saved.config.hash,
        metrics=_metrics(saved),
        data_fingerprint=saved.header.get("data_fingerprint", fingerprint),
        licence=_licence(saved),
        versions={package: version(package) for package in ("sweeper", "timm", "torch")},
    )


def _licence(saved: SavedModel) -> str | None:
    if saved.config.weights != "pretrained":
        return None
    return describe_backbone(saved.config, num_classes=len(saved.classes)).licence


def _metrics(saved: SavedModel) -> EpochMetrics | None:
    """Returns what the trial noted beside its best weights; those of another version may not."""
    try:
        return EpochMetrics.model_validate_json(saved.header["metrics"])
    except (KeyError, ValidationError):
        return None


def _ignore(check: object) -> None:
    """Shows nothing."""

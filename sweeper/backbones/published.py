"""An exported model's `config.json`, in the layout that timm reads, and timm's own way to open it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
from timm.models import save_for_hf
from torch import nn

from sweeper.backbones.backbone import Backbone
from sweeper.backbones.heads import HeadedModel
from sweeper.backbones.saved import OWN_KEY, TRIAL_KEY
from sweeper.paths import written_aside
from sweeper.spec.trial import TrialConfig


def opens_in_timm(backbone: Backbone) -> bool:
    """Whether timm can open the model's folder: it does not know heads of ours."""
    return not isinstance(backbone.model, HeadedModel)


def is_timms_own(backbone: Backbone) -> bool:
    """Whether the network is one that timm has without sweeper."""
    return type(backbone.model).__module__.startswith("timm.")


def write_config(
    path: Path, backbone: Backbone, config: TrialConfig, *, classes: tuple[str, ...], details: Mapping[str, Any]
) -> None:
    """Writes `config.json`: what timm needs to build the network, where it can, and under a key of our own the rest.

    Args:
        path: of the file.
        backbone: as it is exported.
        config: of the trial that trained it.
        classes: label names, in the order of the scores.
        details: what `read_saved_model` shall return as such.
    """
    own = {TRIAL_KEY: _without_folders(config.model_dump(mode="json")), **details}
    if opens_in_timm(backbone):
        content = _timms_config(backbone) | {"label_names": list(classes), OWN_KEY: own}
    else:
        content = {"num_classes": len(classes), "label_names": list(classes), OWN_KEY: own}
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _timms_config(backbone: Backbone) -> dict[str, Any]:
    """Returns what timm writes for the network and its images."""
    size = backbone.image_size
    data = {
        "input_size": (3, size, size),
        "mean": backbone.mean,
        "std": backbone.std,
        "crop_pct": backbone.crop_pct,
        "crop_mode": "center",
        "interpolation": "bilinear",
    }
    with TemporaryDirectory() as folder:
        save_for_hf(backbone.model, folder, safe_serialization=True, data_config=data)
        written: dict[str, Any] = json.loads((Path(folder) / "config.json").read_bytes())
    return written


def open_in_timm(folder: Path) -> nn.Module:
    """Opens an exported model as a person without sweeper would, in eval mode."""
    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval()


def _without_folders(value: Any) -> Any:
    """Returns settings in which each path is its last name: an export is given away, the machine's folders are not."""
    if isinstance(value, dict):
        return {name: _without_folders(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

"""What a person should know of an exported model, as the README of its folder."""

from __future__ import annotations

import yaml

from sweeper.backbones import Backbone, is_timms_own, opens_in_timm
from sweeper.export.report import Check, ExportReport
from sweeper.records import METRICS
from sweeper.spec.trial import TrialConfig

_SHOWN_CLASSES = 200
_SECTIONS = {"backbone", "backbone_args", "head", "train", "augment", "seed"}
"""Of the settings; where the images lie on a machine is nobody else's business."""
_OPENED_BY = {
    "safetensors": "`sweeper.load_model`",
    "timm": "`timm.create_model`",
    "torch": "`torch.export.load`",
    "onnx": "ONNX Runtime",
    "int8": "ONNX Runtime",
}


def card_of(report: ExportReport, backbone: Backbone, config: TrialConfig) -> str:
    """Returns the text of the card, Markdown.

    Args:
        report: of the export.
        backbone: the model.
        config: of the trial that trained it.
    """
    parts = (
        # Read by the Hugging Face hub, where the folder can be put as it is.
        "---\npipeline_tag: image-classification\nlibrary_name: timm\n---",
        _what(report, config),
        _use(report, backbone),
        _input(report),
        _files(report),
        _origin(report),
        _settings(config),
        _classes(report.info.classes),
    )
    return "\n\n".join(parts) + "\n"


def _what(report: ExportReport, config: TrialConfig) -> str:
    info, metrics = report.info, report.origin.metrics
    how = "trained from scratch" if config.weights == "random" else "fine-tuned"
    text = f"# {info.backbone}, {how}\n\nSays which of {len(info.classes)} classes a picture shows."
    if metrics is not None:
        measured = (
            f"{metric.title} {format(value, metric.format)}"
            for metric in METRICS.values()
            if (value := getattr(metrics, metric.name)) is not None
        )
        text += f" On the validation images, after epoch {metrics.epoch}: {', '.join(measured)}."
    if report.calibration is None:
        return f"{text}\n\nIts probabilities are those of a plain softmax; they are not calibrated."
    found = report.calibration
    return (
        f"{text}\n\nIts probabilities are calibrated: logits are divided by {found.temperature:.3f}, found on "
        f"{found.images} images, and the expected calibration error falls from {found.ece_before:.4f} to "
        f"{found.ece_after:.4f} (each half of the images with the temperature of the other half)."
    )


def _use(report: ExportReport, backbone: Backbone) -> str:
    lines = [
        "## Use",
        "",
        "```python",
        "import sweeper",
        "",
        'model = sweeper.load_model("this/folder")  # or its .onnx or .pt2 file',
        'for picture in model.predict(["one.jpg", "two.jpg"], top_k=5):',
        '    print(picture.label, f"{picture.probability:.1%}", picture.guesses)',
        "```",
        "",
        "On the command line: `sweeper predict this/folder photos/ --csv`.",
        "",
        _in_timm(backbone),
    ]
    if report.info.takes_metadata:
        lines += [
            "",
            "Its network takes date and place of an image as a second input; zeros say that they are not known.",
        ]
    return "\n".join(lines)


def _in_timm(backbone: Backbone) -> str:
    if not opens_in_timm(backbone):
        return "timm alone cannot open this folder: the model has a head of sweeper's in place of its own."
    call = 'timm.create_model("local-dir:this/folder", pretrained=True)'
    if is_timms_own(backbone):
        return f"Without sweeper: `{call}`; classes are in `label_names` of `config.json`."
    return f"In timm, after `import sweeper.backbones`, where this network is registered: `{call}`."


def _input(report: ExportReport) -> str:
    at = report.info.preprocess
    return (
        "## Input\n\n"
        f"An upright RGB image is shrunk to a short side of {at.short_side} pixels unless it is smaller, the centred "
        f"square of {at.crop_pct:g} of the short side is cut out and resized to {at.image_size} pixels (bilinear), "
        f"divided by 255, then mean {_triple(at.mean)} is subtracted and the rest divided by {_triple(at.std)}. "
        "ONNX: input `images`, float32 (batch, 3, height, width); output `logits`. Class names, these numbers and the "
        "temperature are JSON in the ONNX file's metadata, in `model.json` inside the `.pt2` file and in `config.json`."
    )


def _files(report: ExportReport) -> str:
    lines = [
        "## Files",
        "",
        f"Each was opened again and compared with the original on {report.images} images ({report.compared_on})"
        + (f", of which the original gets {report.top1:.4f} right." if report.top1 is not None else "."),
        "",
        "| file | opened by | MB | largest difference of a logit | same class | top-1 |",
        "|---|---|---|---|---|---|",
        *(_row(check) for check in report.checks),
    ]
    lines += [f"\n{check.file}: {check.note}." for check in report.checks if check.note]
    lines += [f"\nNot written, {name}: {reason}" for name, reason in report.failures.items()]
    return "\n".join(lines)


def _row(check: Check) -> str:
    top1 = "-" if check.top1 is None else f"{check.top1:.4f}"
    opened_by, size = _OPENED_BY[check.format], check.size_bytes / 1e6
    return (
        f"| `{check.file}` | {opened_by} | {size:.1f} | {check.max_difference:.1e} | {check.agreement:.2%} | {top1} |"
    )


def _origin(report: ExportReport) -> str:
    origin = report.origin
    trial = f"trial {origin.trial} of the sweep `{origin.sweep}`" if origin.sweep else "a trial outside of any sweep"
    versions = ", ".join(f"{package} {version}" for package, version in origin.versions.items())
    return (
        "## Origin\n\n"
        f"From {trial} (settings `{origin.trial_hash}`), on images with the fingerprint "
        f"`{origin.data_fingerprint or 'unknown'}`. Licence of the pretrained weights it started from: "
        f"{origin.licence or 'not stated'}; that of the images is for whoever gives the model away to look after. "
        f"Written by {versions}."
    )


def _settings(config: TrialConfig) -> str:
    dumped = config.model_dump(mode="json", include=_SECTIONS, exclude_defaults=True)
    dumped.get("train", {}).pop("teacher", None)
    return f"```yaml\n{yaml.safe_dump(dumped, sort_keys=False).strip()}\n```"


def _classes(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - _SHOWN_CLASSES} more, in `config.json`" if len(classes) > _SHOWN_CLASSES else ""
    return f"## Classes\n\n{', '.join(classes[:_SHOWN_CLASSES])}{more}."


def _triple(values: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"

"""Everything that can be found wrong before the first trial starts."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from sweeper.backbones import find_weights
from sweeper.data import prepare_images, read_manifest
from sweeper.driver.observer import SweepObserver
from sweeper.paths import CachePaths
from sweeper.records import ParamValue
from sweeper.spec import SweepSpec, TrialConfig, resolve
from sweeper.trial.phases import stored_data
from sweeper.trial.setup import check_trial

_STRUCTURAL = (
    "freeze_depth", "drop_path", "optimizer", "weights", "tune", "cache_features", "teacher", "data.", "backbone_args.",
    "head.", "probe.", "fixres.", "train.", "augment.mixup", "augment.cutmix",
)  # fmt: skip
"""Parameters that can make a model impossible to build; the rest are checked by their own ranges."""


class Prepared(BaseModel):
    """What the preflight found out."""

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...]
    data_fingerprint: str
    quarantined: int


def prepare(spec: SweepSpec, cache: CachePaths, observer: SweepObserver) -> Prepared:
    """Checks backbones, weights and images, and decodes the images once for all trials.

    Cheap checks come first, so that a mistyped backbone is not told after an hour of decoding.

    Raises:
        BackboneError: a backbone is unknown, cannot be built as some trial would ask, or has no weights.
        DataError: the images cannot be used.
        SpecError: an optimiser is unknown, a teacher has no model or other classes, metadata is missing, ...
    """
    variants = tuple(_variants(spec))
    manifest, _ = read_manifest(variants[0].data)
    for config in variants:
        check_trial(config, classes=manifest.classes)
    for name, weights in dict.fromkeys((config.backbone, config.weights) for config in variants):
        find_weights(name, weights, cache)
    caches = [
        prepare_images(data, cache, on_progress=lambda done, total: observer.preparing("decoding images", done, total))
        for data in {data.model_dump_json(): data for data in map(stored_data, variants)}.values()
    ]
    for bad in caches[0].quarantined:
        observer.note(f"Left out the image `{bad.key}`: {bad.reason}.")
    return Prepared(
        classes=caches[0].classes, data_fingerprint=caches[0].fingerprint, quarantined=len(caches[0].quarantined)
    )


def _variants(spec: SweepSpec) -> Iterator[TrialConfig]:
    """Yields each backbone's plain settings, then those settings with one structural parameter at one end."""
    for backbone in spec.backbones:
        base: dict[str, ParamValue] = {"backbone": backbone}
        yield resolve(spec, base)
        for scoped in spec.parameters(backbone):
            if scoped.name.startswith(_STRUCTURAL):
                for value in scoped.parameter.ends:
                    yield resolve(spec, {**base, scoped.name: value})

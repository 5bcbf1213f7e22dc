"""Everything that can be found wrong before the first trial starts."""

from __future__ import annotations

from collections import Counter

from sweeper.backbones import find_weights
from sweeper.data import (
    ImageCache,
    ImageSet,
    Prepared,
    count_twins,
    open_duplicates,
    open_images,
    read_manifest,
    read_prepared,
)
from sweeper.driver.observer import SweepObserver
from sweeper.errors import DataError
from sweeper.paths import CachePaths, SweepPaths, written_aside
from sweeper.planning.points import corners
from sweeper.spec import SweepSpec, resolve
from sweeper.spec.data import DataSpec
from sweeper.trial.class_counts import check_objective
from sweeper.trial.phases import stored_data
from sweeper.trial.remote import check_remote
from sweeper.trial.setup import check_trial


def prepare(spec: SweepSpec, cache: CachePaths, observer: SweepObserver) -> Prepared:
    """Checks backbones, weights and images, and decodes the images once for all trials.

    Cheap checks come first, so that a mistyped backbone is not told after an hour of decoding.

    Raises:
        BackboneError: a backbone is unknown, cannot be built as some trial would ask, or has no weights.
        DataError: the images cannot be used.
        InputError: `checkpoints.remote` takes no file.
        SpecError: an optimiser is unknown, a teacher has no model or other classes, metadata is missing, ...
    """
    if spec.checkpoints.remote is not None:
        check_remote(spec.checkpoints.remote)
    variants = tuple(resolve(spec, point) for backbone in spec.backbones for point in corners(spec, backbone))
    manifest, _ = read_manifest(variants[0].data)
    for config in variants:
        check_trial(config, classes=manifest.classes)
    for name, weights in dict.fromkeys((config.backbone, config.weights) for config in variants):
        find_weights(name, weights, cache)
    caches = [
        open_images(data, cache, on_progress=observer.preparing)
        for data in {data.model_dump_json(): data for data in map(stored_data, variants)}.values()
    ]
    labels = caches[0].split("train").labels
    for config in variants:
        check_objective(config, labels, num_classes=len(caches[0].classes))
    for bad in caches[0].quarantined:
        observer.note(f"Left out the image `{bad.key}`: {bad.reason}.")
    _note_twins(caches[0], variants[0].data, observer)
    return Prepared(
        classes=caches[0].classes,
        data_fingerprint=manifest.fingerprint,
        split_fingerprint=caches[0].split_fingerprint,
        images={split: len(caches[0].split(split)) for split in caches[0].splits},
        quarantined=len(caches[0].quarantined),
    )


def _note_twins(images: ImageSet, data: DataSpec, observer: SweepObserver) -> None:
    """Tells of validation and test images that are trained on as well; a stream would have to be read for it."""
    if data.split.duplicates != "report" or not isinstance(images, ImageCache):
        return
    counts = count_twins(images, open_duplicates(images, observer.preparing))
    if counts.leaked:
        observer.note(
            f"{counts.sentence} `sweeper data duplicates` lists them; `data.split.duplicates: drop` leaves such images "
            f"out of the training."
        )


def listed_images(spec: SweepSpec) -> Prepared:
    """Returns what is known of the images before any is decoded; all count as readable.

    Raises:
        DataError: they cannot be listed.
    """
    manifest, _ = read_manifest(resolve(spec, {"backbone": spec.backbones[0]}).data)
    return Prepared(
        classes=manifest.classes,
        data_fingerprint=manifest.fingerprint,
        split_fingerprint="",
        images=dict(Counter(sample.split for sample in manifest.samples)),
        quarantined=0,
    )


def require_same_split(paths: SweepPaths, prepared: Prepared, observer: SweepObserver) -> None:
    """Compares the images with those that the sweep began with, where it began before.

    Raises:
        DataError: they are split otherwise, so that its trials could not be compared any more.
    """
    began = read_prepared(paths)
    if began is None:
        return
    if began.split_fingerprint != prepared.split_fingerprint:
        raise DataError(
            f"All trials of a sweep must be judged on the same images, but those of `{paths.root.name}` are split "
            f"otherwise now (split {began.split_fingerprint} before, {prepared.split_fingerprint} now); put the images "
            f"back as they were, or start another sweep."
        )
    if began.data_fingerprint != prepared.data_fingerprint:
        observer.note(
            "Files or labels of the images have changed since the sweep began; which split they are in has not."
        )


def write_data(paths: SweepPaths, prepared: Prepared) -> None:
    """Writes down what the images were when the sweep began; what is there already stays."""
    if not paths.data.exists():
        with written_aside(paths.data) as aside:
            aside.write_text(prepared.model_dump_json(indent=2), encoding="utf-8")

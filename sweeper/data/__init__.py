"""Images: readers -> manifest -> decoded cache -> augmented batches -> normalised tensors on the device."""

from __future__ import annotations

from sweeper.data.build import open_prepared, prepare_images
from sweeper.data.cache import ImageCache, ImageSplit, open_cache
from sweeper.data.describe import DataDescription, Survey, describe
from sweeper.data.device import DeviceBatch, Preprocessor
from sweeper.data.duplicates import (
    DuplicateReport,
    Duplicates,
    TwinCounts,
    TwinPair,
    count_twins,
    open_duplicates,
    twin_pairs,
)
from sweeper.data.image_set import ImageSet, ImageStream, open_images
from sweeper.data.loader import Batch, EvalLoader, TrainLoader
from sweeper.data.manifest import Manifest, Observation, Pixels, Sample, Split
from sweeper.data.metadata import read_metadata
from sweeper.data.mix import Mix
from sweeper.data.overview import augmented_variants, draw_overview, told_augmentation
from sweeper.data.pictures import EvalView, find_pictures
from sweeper.data.prepared import Prepared, read_prepared
from sweeper.data.quarantine import Quarantined
from sweeper.data.readers import read_manifest
from sweeper.data.readers.location import Location, locate
from sweeper.data.stream import EvalStream, StreamSplit, TrainStream

__all__ = [
    "Batch",
    "DataDescription",
    "DeviceBatch",
    "DuplicateReport",
    "Duplicates",
    "EvalLoader",
    "EvalStream",
    "EvalView",
    "ImageCache",
    "ImageSet",
    "ImageSplit",
    "ImageStream",
    "Location",
    "Manifest",
    "Mix",
    "Observation",
    "Pixels",
    "Prepared",
    "Preprocessor",
    "Quarantined",
    "Sample",
    "Split",
    "StreamSplit",
    "Survey",
    "TrainLoader",
    "TrainStream",
    "TwinCounts",
    "TwinPair",
    "augmented_variants",
    "count_twins",
    "describe",
    "draw_overview",
    "find_pictures",
    "locate",
    "open_cache",
    "open_duplicates",
    "open_images",
    "open_prepared",
    "prepare_images",
    "read_manifest",
    "read_metadata",
    "read_prepared",
    "told_augmentation",
    "twin_pairs",
]

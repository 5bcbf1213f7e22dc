"""Images: readers -> manifest -> decoded cache -> augmented batches -> normalised tensors on the device."""

from __future__ import annotations

from sweeper.data.build import prepare_images
from sweeper.data.cache import ImageCache, ImageSplit, open_cache
from sweeper.data.describe import DataDescription, describe
from sweeper.data.device import DeviceBatch, Preprocessor
from sweeper.data.loader import Batch, EvalLoader, TrainLoader
from sweeper.data.manifest import Manifest, Observation, Sample, Split
from sweeper.data.metadata import read_metadata
from sweeper.data.mix import Mix
from sweeper.data.parts import Quarantined
from sweeper.data.readers import read_manifest

__all__ = [
    "Batch",
    "DataDescription",
    "DeviceBatch",
    "EvalLoader",
    "ImageCache",
    "ImageSplit",
    "Manifest",
    "Mix",
    "Observation",
    "Preprocessor",
    "Quarantined",
    "Sample",
    "Split",
    "TrainLoader",
    "describe",
    "open_cache",
    "prepare_images",
    "read_manifest",
    "read_metadata",
]

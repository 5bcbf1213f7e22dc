"""Readers: one module a source, each turning a `data:` section into a manifest and its image source."""

from __future__ import annotations

from sweeper.data.manifest import ImageSource, Manifest
from sweeper.data.metadata import with_observations
from sweeper.data.readers.csv_file import read_csv
from sweeper.data.readers.digits import read_digits
from sweeper.data.readers.folder import read_folder
from sweeper.data.readers.inaturalist import read_inaturalist
from sweeper.data.readers.parquet import read_parquet
from sweeper.data.readers.torchvision_sets import read_torchvision
from sweeper.data.readers.webdataset import read_webdataset
from sweeper.data.splits import split_samples
from sweeper.spec.data import (
    CsvData,
    DataSpec,
    DigitsData,
    FolderData,
    INaturalist2021Data,
    INaturalistData,
    ParquetData,
    TorchvisionData,
    WebDatasetData,
)


def read_manifest(spec: DataSpec) -> tuple[Manifest, ImageSource]:
    """Lists the images that `spec` asks for, each in its split and with its place and date; decodes none.

    Returns:
        The manifest and the source that gives the pixels of its samples.

    Raises:
        DataError: the images cannot be used as they are.
    """
    listed, source = _listed(spec)
    if spec.metadata is not None:
        listed = with_observations(listed, spec.metadata)
    return split_samples(listed, spec.split), source


def _listed(spec: DataSpec) -> tuple[Manifest, ImageSource]:
    """Lists the images in the splits their source has; those of a source without any are all in `train`."""
    match spec:
        case FolderData():
            return read_folder(spec)
        case DigitsData():
            return read_digits()
        case INaturalistData() | INaturalist2021Data():
            return read_inaturalist(spec)
        case CsvData():
            return read_csv(spec)
        case ParquetData():
            return read_parquet(spec)
        case WebDatasetData():
            return read_webdataset(spec)
        case TorchvisionData():
            return read_torchvision(spec)


__all__ = ["read_manifest"]

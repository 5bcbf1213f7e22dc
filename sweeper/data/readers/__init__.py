"""Readers: one module a source, each turning a `data:` section into a manifest and its image source."""

from __future__ import annotations

from sweeper.data.manifest import ImageSource, Manifest
from sweeper.data.metadata import with_observations
from sweeper.data.readers.digits import read_digits
from sweeper.data.readers.folder import read_folder
from sweeper.data.splits import split_samples
from sweeper.spec.data import DataSpec, DigitsData


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
    if isinstance(spec, DigitsData):
        return read_digits()
    return read_folder(spec)


__all__ = ["read_manifest"]

"""Readers: one module a source, each turning a `data:` section into a manifest and its image source."""

from __future__ import annotations

from sweeper.data.manifest import ImageSource, Manifest
from sweeper.data.readers.digits import read_digits
from sweeper.data.readers.folder import read_folder
from sweeper.data.splits import with_val
from sweeper.spec.data import DataSpec, DigitsData


def read_manifest(spec: DataSpec) -> tuple[Manifest, ImageSource]:
    """Lists the images that `spec` asks for, each in its split, without decoding them.

    Returns:
        The manifest and the source that gives the pixels of its samples.

    Raises:
        DataError: the images cannot be used as they are.
    """
    listed, source = _listed(spec)
    return with_val(listed, spec), source


def _listed(spec: DataSpec) -> tuple[Manifest, ImageSource]:
    """Lists the images in the splits their source has; those of a source without any are all in `train`."""
    if isinstance(spec, DigitsData):
        return read_digits()
    return read_folder(spec)


__all__ = ["read_manifest"]

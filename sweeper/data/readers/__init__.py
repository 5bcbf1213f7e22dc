"""Readers: one module a source, each turning a `data:` section into a manifest and its image source."""

from __future__ import annotations

from sweeper.data.manifest import ImageSource, Manifest
from sweeper.data.readers.digits import read_digits
from sweeper.data.readers.folder import read_folder
from sweeper.spec.data import DataSpec, DigitsData


def read_manifest(spec: DataSpec) -> tuple[Manifest, ImageSource]:
    """Lists the images that `spec` asks for, without decoding them.

    Returns:
        The manifest and the source that gives the pixels of its samples.

    Raises:
        DataError: the images cannot be used as they are.
    """
    if isinstance(spec, DigitsData):
        return read_digits(spec)
    return read_folder(spec)


__all__ = ["read_manifest"]

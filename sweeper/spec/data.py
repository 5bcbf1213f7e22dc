"""The `data:` section: which images, and how they are split and stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sweeper.spec.model import Section
from sweeper.spec.split import SplitSpec

Place = Annotated[str, Field(min_length=1)]
"""A path on this machine, or a URI such as `s3://bucket/photos` or `gs://bucket/photos`."""


class _DataSection(Section):
    image_size: int = Field(default=224, ge=16, le=1024)
    """Side of the square image a model sees, in pixels."""
    store_size: int | None = Field(default=None, ge=16, le=2048)
    """Short side of the decoded images in the cache, in pixels; by default 8/7 of `image_size`."""
    split: SplitSpec = SplitSpec()
    """Which images train, which validate, and which are kept for a test."""
    metadata: Path | None = None
    """A CSV of places and dates: `image,latitude,longitude,date`; values may be missing."""
    max_bad_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of unreadable images above which the sweep refuses to start; below it they are listed and left out."""
    max_gb: float | None = Field(default=None, gt=0.0)
    """Room that the decoded images may take on the disk of a machine, in units of 10^9 bytes; refused before the first
    is decoded if they need more. By default whatever the disk has."""
    stream: bool = False
    """Keep no decoded images: read and decode them for every epoch anew, shards in random order and each from its
    beginning. For data larger than the disk; slower, and `cache_features` and `sampler` cannot be had."""
    shuffle_buffer: int = Field(default=2048, ge=1)
    """With `stream`, how many images are read ahead, as the bytes of their files, for the next to be drawn from."""

    @model_validator(mode="after")
    def twins_can_be_known(self) -> Self:
        """Duplicates are found among decoded images, which a stream does not keep."""
        if self.stream and self.split.duplicates == "drop":
            raise ValueError("`split.duplicates: drop` needs decoded images, but got `stream: true`, which keeps none")
        return self

    @property
    def stored_short_side(self) -> int:
        """Pixels of the short side in the cache: room for a crop to choose from without a blur."""
        return self.store_size or -(-self.image_size * 8 // 7)


class FolderData(_DataSection):
    """A folder of images, one folder a class."""

    source: Literal["folder"]
    root: Path
    """Holds `train/` and `val/` (and perhaps `test/`), or the class folders themselves, which are then split."""


class DigitsData(_DataSection):
    """scikit-learn's 1,797 handwritten digits: 10 classes, 8 x 8 pixels, nothing to download."""

    source: Literal["digits"]
    image_size: int = Field(default=64, ge=16, le=1024)
    """Side of the square image a model sees, in pixels."""


class _INaturalistData(_DataSection):
    root: Place
    """Holds the competition's JSON files and, beside them, the folder of images that they name."""
    supercategory: str | tuple[str, ...] | None = None
    """Which part of the data set, e.g. `Fungi`, or a list of several; by default all of it."""

    @property
    def supercategories(self) -> tuple[str, ...]:
        """The chosen parts; none stands for all."""
        chosen = self.supercategory or ()
        return (chosen,) if isinstance(chosen, str) else chosen


class INaturalistData(_INaturalistData):
    """iNaturalist 2017, 2018 or 2019 as the competition's archives unpack."""

    source: Literal["inat2017", "inat2018", "inat2019"]


class INaturalist2021Data(_INaturalistData):
    """iNaturalist 2021 as the competition's archives unpack."""

    source: Literal["inat2021"]
    mini: bool = False
    """Train on `train_mini.json`, 50 images a species, and not on `train.json`."""


class CsvData(_DataSection):
    """A CSV with a line an image: `path,label`, and perhaps `split`, `group`, `latitude`, `longitude`, `date`."""

    source: Literal["csv"]
    file: Place
    """The CSV; its first line names the columns."""
    root: Place | None = None
    """The folder that `path` is relative to; by default the CSV's own."""


class _ShardData(_DataSection):
    root: Place
    """A folder of shards, at any depth, or one shard; a name such as `train-00001` or `validation/3` says the split."""
    label: str = "label"
    """The column, or the key of the JSON file, that holds the label."""


class ParquetData(_ShardData):
    """Parquet or Arrow files with the images' bytes, as Hugging Face data sets have them."""

    source: Literal["parquet"]
    image: str = "image"
    """The column that holds the images: encoded bytes, or a struct with the fields `bytes` and `path`."""


class WebDatasetData(_ShardData):
    """Tar shards; files of one name belong together, e.g. `0001.jpg` and `0001.cls` or `0001.json`."""

    source: Literal["webdataset"]


class TorchvisionData(_DataSection):
    """A data set that torchvision knows by name."""

    source: Literal["torchvision"]
    dataset: str
    """The name of its class, e.g. `Flowers102`."""
    root: Path
    """The folder that torchvision keeps it in."""
    download: bool = False
    """Let torchvision download what is missing."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Passed to the class, e.g. `{annotation_level: family}` for FGVCAircraft."""


DataSpec = Annotated[
    FolderData
    | DigitsData
    | INaturalistData
    | INaturalist2021Data
    | CsvData
    | ParquetData
    | WebDatasetData
    | TorchvisionData,
    Field(discriminator="source"),
]

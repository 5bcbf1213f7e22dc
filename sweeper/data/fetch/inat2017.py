"""One part of iNaturalist 2017, out of the one archive of 186 GB that it is published in."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from sweeper.data.fetch.archive import STEP, ArchiveReader, OnArchive
from sweeper.data.fetch.remote import RemoteFile
from sweeper.data.readers.inaturalist import PUBLISHED_2017, chosen_files
from sweeper.data.readers.location import locate
from sweeper.errors import DataError, FetchError, nearest
from sweeper.paths import written_aside

URL: Final = "https://ml-inat-competition-datasets.s3.amazonaws.com/2017"
"""Where the competition's page says the files are."""
MD5: Final = "7c784ea5e424efaec655bd392f87301f"
"""Of `train_val_images.tar.gz`, from the same page."""
LICENCE: Final = """\
iNaturalist 2017 may be used by those who accept its terms (github.com/visipedia/inat_comp, 2017):
- the iNaturalist Terms of Service apply (www.inaturalist.org/pages/terms);
- the data is used only for non-commercial research and educational purposes;
- the images are NOT distributed, neither as they are nor in a cache;
- there is no warranty, and you answer for your use, copies of copyrighted images included."""
"""The terms of use in short."""

_ANNOTATIONS: Final = ("train2017.json", "val2017.json")
_LOCATIONS: Final = ("train2017_locations.json", "val2017_locations.json")
_ZIPS: Final[Mapping[str, tuple[Sequence[str], str | None]]] = {
    "train_val2017.zip": (_ANNOTATIONS, None),
    "inat2017_locations.zip": (_LOCATIONS, "afc1956f9a100b165b89f3923d040912"),
}
"""The files in each, and its md5 where one is published."""


@dataclass(frozen=True)
class Origin:
    """Where the archives come from."""

    url: str = URL
    md5: str = MD5
    """What that of the archive of images must be."""
    step: int = STEP
    """Bytes of the archive between two checkpoints."""


@dataclass(frozen=True)
class Fetched:
    """What is here now."""

    images: int
    written: int
    """Of these, how many are new."""
    missing: tuple[str, ...]
    """Images that the JSON files list and the archive does not hold."""
    md5: str | None
    """Of the archive; None where an earlier process read a part of it, or nothing had to be read."""


def part_named(name: str) -> str:
    """Returns the part that `inat2017-fungi` names: `Fungi`.

    Raises:
        DataError: there is no such part.
    """
    known = {f"inat2017-{part.lower()}": part for part in PUBLISHED_2017}
    if name.lower() not in known:
        hint = nearest(name.lower(), known) or "; known are " + ", ".join(f"`{one}`" for one in known) + "."
        raise DataError(f"A data set to fetch must be a part of iNaturalist 2017, but got `{name}`{hint}")
    return known[name.lower()]


def fetch_inat2017(part: str, to: Path, *, origin: Origin = Origin(), on_progress: OnArchive) -> Fetched:
    """Brings one part of iNaturalist 2017 into a folder that the source `inat2017` can read.

    The archive is read once and not stored. A broken connection is taken up again; so is the work of a process that
    was killed, from its last checkpoint on. Files that are here are neither written nor, once all are, fetched again.

    Args:
        part: e.g. `Fungi`.
        to: the folder.
        origin: where the archives lie, and what they must be.
        on_progress: called at every member of the archive.

    Raises:
        FetchError: something cannot be had, or is not what was published.
    """
    work = to / ".fetch"
    for name, (members, published) in _ZIPS.items():
        if not all((to / member).exists() for member in members):
            _fetch_zip(f"{origin.url}/{name}", work / name, members, md5=published if origin.md5 == MD5 else None)
    wanted = chosen_files(locate(str(to)), _ANNOTATIONS, (part,))
    _refuse_escapes(wanted)
    written, seen = 0, None
    finished = work / f"{part}.done"
    if not finished.exists() or _absent(to, wanted):
        archive = RemoteFile(f"{origin.url}/train_val_images.tar.gz")
        reader = ArchiveReader(archive, wanted, to, work / f"{part}.json", step=origin.step)
        if finished.exists():  # and yet images are gone: what lies before the checkpoint is needed, too
            reader.forget()
            finished.unlink()
        extracted = reader.extract(on_progress)
        written, seen = extracted.written, extracted.md5
        if seen is not None and seen != origin.md5:
            reader.forget()
            raise FetchError(f"`{archive.url}` must have the md5 {origin.md5}, but it has {seen}.")
        finished.write_text(f"{archive.version}\n", encoding="utf-8")
        reader.forget()
    missing = _absent(to, wanted)
    return Fetched(len(wanted) - len(missing), written, tuple(missing), seen)


def _fetch_zip(url: str, path: Path, members: Sequence[str], *, md5: str | None) -> None:
    """Brings a zip of JSON files and unpacks those that are asked for beside the folder it is put in."""
    with written_aside(path) as aside:
        remote = RemoteFile(url)
        with aside.open("wb") as file:
            shutil.copyfileobj(remote, file)
        if md5 is not None and remote.md5 != md5:
            raise FetchError(f"`{url}` must have the md5 {md5}, but it has {remote.md5}.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name).name: name for name in archive.namelist()}
            for member in members:
                with written_aside(path.parent.parent / member) as aside, aside.open("wb") as file:
                    shutil.copyfileobj(archive.open(names[member]), file)
    except KeyError as error:
        raise FetchError(f"`{url}` must hold {error}, but it does not.") from error
    except zipfile.BadZipFile as error:
        raise FetchError(f"`{url}` is damaged: {error}.") from error
    finally:
        path.unlink()


def _refuse_escapes(names: set[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
            raise FetchError(f"An image must stay in its folder, but the JSON files list `{name}`.")


def _absent(to: Path, wanted: set[str]) -> list[str]:
    return sorted(name for name in wanted if not (to / name).is_file())

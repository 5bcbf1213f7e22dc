"""A server with a small archive of iNaturalist 2017's layout, whose connections break where a test says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ARCHIVE = "train_val_images.tar.gz"
PARTS = {"Fungi": ("Amanita muscaria", "Boletus edulis"), "Aves": ("Turdus merula",), "Plantae": ("Morus",)}


@dataclass
class Server:
    """What is served, what was asked, and where connections break."""

    files: dict[str, bytes]
    images: dict[str, bytes]
    """The images of the archive by their names."""
    breaks: list[int] = field(default_factory=list)
    """Bytes of the archive before which a connection breaks, each once."""
    ranges: bool = True
    hold_at: int | None = None
    """Byte of the archive before which the server waits for `go`."""
    holds: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Names and first bytes."""
    version: str = '"1"'
    version_after_break: str = ""
    url: str = ""

    @property
    def md5(self) -> str:
        return hashlib.md5(self.files[ARCHIVE]).hexdigest()

    def starts(self) -> list[int]:
        """Returns the first bytes of the requests for the archive."""
        return [start for name, start in self.asked if name == ARCHIVE]


class _Handler(BaseHTTPRequestHandler):
    served: Server

    def do_HEAD(self) -> None:
        self._head(0)

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        start = start if self.served.ranges else 0
        data = self._head(start)
        if data is None:
            return
        name = self.path.lstrip("/")
        self.served.asked.append((name, start))
        while start < len(data):
            end = min(len(data), start + 4096)
            if name == ARCHIVE and self.served.hold_at is not None and end > self.served.hold_at:
                self.served.holds.set()
                self.served.go.wait(60)
                return
            broken = name == ARCHIVE and any(start <= at < end for at in self.served.breaks)
            if broken:
                self.served.breaks = [at for at in self.served.breaks if not start <= at < end]
                self.served.version = self.served.version_after_break or self.served.version
                self.close_connection = True
                return
            self.wfile.write(data[start:end])
            start = end

    def _head(self, start: int) -> bytes | None:
        data = self.served.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return None
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", self.served.version)
        self.end_headers()
        return data

    def log_message(self, format: str, *args: object) -> None:
        pass


def make_images() -> dict[str, bytes]:
    """Returns six images of each species, each 20 to 60 KB that cannot be compressed, as JPEG files are."""
    rng = random.Random(0)
    return {
        f"train_val_images/{part}/{name}/{rng.getrandbits(64):016x}.jpg": rng.randbytes(rng.randint(20_000, 60_000))
        for part, names in PARTS.items()
        for name in names
        for _ in range(6)
    }


def make_archive(images: dict[str, bytes]) -> bytes:
    """Returns a tar.gz of the images, with members that would leave the folder or are no files."""
    names = list(images)
    random.Random(1).shuffle(names)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, name in enumerate(names):
            if number == 3:
                evil = tarfile.TarInfo("train_val_images/Fungi/../../../evil.jpg")
                evil.size = 4
                archive.addfile(evil, io.BytesIO(b"evil"))
                link = tarfile.TarInfo(f"{name}.jpg")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(link)
            member = tarfile.TarInfo(name)
            member.size = len(images[name])
            archive.addfile(member, io.BytesIO(images[name]))
    return gzip.compress(buffer.getvalue(), 6)


def make_zip(files: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(content))
    return buffer.getvalue()


def make_annotations(images: dict[str, bytes]) -> dict[str, object]:
    """Returns both JSON files: of each species the first four images train, the others validate."""
    names = [name for part in PARTS.values() for name in part]
    categories = [
        {"id": names.index(name), "name": name, "supercategory": part}
        for part, found in PARTS.items()
        for name in found
    ]
    documents: dict[str, object] = {}
    for split, chosen in (("train", range(4)), ("val", range(4, 6))):
        listed = [(number, name) for number, name in enumerate(images) if number % 6 in chosen]
        documents[f"train_val2017/{split}2017.json"] = {
            "images": [{"id": number, "file_name": name} for number, name in listed],
            "annotations": [
                {"id": number, "image_id": number, "category_id": names.index(name.split("/")[2])}
                for number, name in listed
            ],
            "categories": categories,
        }
    return documents


@pytest.fixture
def server() -> Iterator[Server]:
    images = make_images()
    places: dict[str, object] = {f"inat2017_locations/{split}2017_locations.json": [] for split in ("train", "val")}
    served = Server(
        files={
            ARCHIVE: make_archive(images),
            "train_val2017.zip": make_zip(make_annotations(images)),
            "inat2017_locations.zip": make_zip(places),
        },
        images=images,
    )
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        served.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield served
        served.go.set()
        http.shutdown()
        thread.join()

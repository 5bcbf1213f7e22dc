"""A trial's files in an object store, here moto's server behind pyarrow's own client: machines that share no folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from sweeper.data import locate
from sweeper.errors import EngineError, InputError
from sweeper.paths import SweepPaths, TrialPaths
from sweeper.trial.remote import RemoteTrial, check_remote, place_of

Place = Callable[[str], str]


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["s3", "folder"])
def place(
    request: pytest.FixtureRequest, server: ThreadedMotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Where a trial's files may lie."""
    if request.param == "folder":
        return str(tmp_path / "store/photos-1f3a/trials/0007")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    host, port = server.get_host_and_port()
    query = f"scheme=http&endpoint_override={host}%3A{port}&region=us-east-1"
    files, _ = fs.FileSystem.from_uri(f"s3://sweeps?{query}&allow_bucket_creation=true")
    files.create_dir("sweeps")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return f"s3://sweeps/{tmp_path.name}/trials/0007"


def machine(folder: Path, **contents: str) -> TrialPaths:
    """A trial's folder on a machine of its own."""
    paths = TrialPaths(folder)
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        getattr(paths, name).write_text(text)
    return paths


def test_the_next_attempt_goes_on_from_the_files_of_the_last_one_on_another_machine(place: str, tmp_path: Path) -> None:
    one = machine(tmp_path / "one", predictions="left here by nobody knows whom")
    RemoteTrial(place).begin(one, attempt=1)
    assert not one.predictions.exists()
    one = machine(tmp_path / "one", checkpoint="epoch 1", best="weights 1", log="attempt 1\n")
    RemoteTrial(place).keep(one, attempt=1)
    # The second one was killed while it sent its files: it left no checkpoint, the last of them.
    RemoteTrial(place).keep(machine(tmp_path / "two", best="weights 1", log="attempt 2\n"), attempt=2)
    third = machine(tmp_path / "third")
    RemoteTrial(place).begin(third, attempt=3)
    assert (third.checkpoint.read_text(), third.best.read_text()) == ("epoch 1", "weights 1")
    assert not third.log.exists()


def test_only_what_has_changed_is_sent_again(place: str, tmp_path: Path) -> None:
    paths = machine(tmp_path / "one", checkpoint="epoch 1", best="weights 1")
    remote = RemoteTrial(place)
    remote.keep(paths, attempt=1)
    there = locate(place) / "attempt-0001"
    (there / "best.safetensors").send(machine(tmp_path / "mark", log="mark").log)
    paths.checkpoint.write_text("epoch 2, and longer")
    remote.keep(paths, attempt=1)
    assert (there / "last.ckpt").read() == b"epoch 2, and longer"
    assert (there / "best.safetensors").read() == b"mark"


def test_a_finished_trial_comes_home_once_and_the_store_is_rid_of_it(place: str, tmp_path: Path) -> None:
    RemoteTrial(place).keep(machine(tmp_path / "one", checkpoint="1", best="1", log="attempt 1\n"), attempt=1)
    RemoteTrial(place).keep(machine(tmp_path / "two", checkpoint="2", best="2", log="attempt 2\n"), attempt=2)
    RemoteTrial(place).keep(machine(tmp_path / "late", checkpoint="9", best="9"), attempt=9)  # none of this trial's
    home = machine(tmp_path / "home")
    RemoteTrial(place).bring_home(home, attempt=2, state=False)
    assert home.best.read_text() == "2"
    assert not home.checkpoint.exists()
    assert home.log.read_text() == "attempt 1\nattempt 2\n"
    assert not locate(place).exists
    # One that was taken for lost sends its files after that.
    RemoteTrial(place).keep(machine(tmp_path / "one", best="stale"), attempt=1)
    RemoteTrial(place).bring_home(home, attempt=2, state=False)
    assert home.best.read_text() == "2"
    assert not locate(place).exists


def test_a_failed_trial_brings_what_it_could_go_on_from(place: str, tmp_path: Path) -> None:
    RemoteTrial(place).keep(machine(tmp_path / "one", checkpoint="1", best="1"), attempt=1)
    RemoteTrial(place).keep(machine(tmp_path / "two", log="died at once"), attempt=2)
    home = machine(tmp_path / "home")
    RemoteTrial(place).bring_home(home, attempt=2, state=True)
    assert (home.checkpoint.read_text(), home.best.read_text(), home.log.read_text()) == ("1", "1", "died at once")


def test_a_store_that_stays_away_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remote = RemoteTrial(str(tmp_path / "file" / "below"), patience=0.0)
    with pytest.raises(EngineError, match=r"`checkpoints.remote` must take and give .* but `.*/file/below` did not"):
        remote.keep(machine(tmp_path / "one", best="1"), attempt=1)


def test_sweeps_of_one_name_do_not_meet_and_options_stay_behind_the_path(tmp_path: Path) -> None:
    sweep = SweepPaths(tmp_path / "photos")
    assert place_of(sweep.trial(7), sweep, "s3://bucket/sweeps/", "1f3a5b7c9d") == (
        "s3://bucket/sweeps/photos-1f3a5b7c/trials/0007"
    )
    options = "?endpoint_override=localhost:9000&scheme=http&region=us-east-1"
    place = place_of(sweep.trial(7), sweep, f"s3://bucket/sweeps{options}", "1f3a5b7c9d")
    assert place == f"s3://bucket/sweeps/photos-1f3a5b7c/trials/0007{options}"
    assert place_of(sweep.trial(7), sweep, None, "1f3a5b7c9d") is None


def test_a_store_is_tried_before_a_sweep_relies_on_it(place: str, tmp_path: Path) -> None:
    check_remote(place)
    assert not [name for name, _ in locate(place).parent.below()] if locate(place).parent.exists else True
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"`checkpoints.remote` must be a place that lets this process write, but .*file"
    ):
        check_remote(str(tmp_path / "file"))
    with pytest.raises(InputError, match="but `nonsense://x` does not"):
        check_remote("nonsense://x")

"""No password of a URL reaches the sweep's folder or MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import InputError, SpecError
from sweeper.paths import SweepPaths, Workspace
from sweeper.search import storage_url, with_storage
from sweeper.spec import SweepSpec, dump_spec
from sweeper.spec.document import Document
from sweeper.spec.load import spec_of
from sweeper.spec.secrets import holds_secret
from sweeper.tracking import choose_uri

TEXT = "name: s\ndata: {source: digits}\nbackbone: b\n"


def load(*overrides: str) -> SweepSpec:
    document = Document.parse(TEXT, name="s.yaml")
    for override in overrides:
        document.override(override)
    return spec_of(document)


@pytest.mark.parametrize(
    ("override", "how"),
    [
        ("search.storage=postgresql://me:hunter2@db/optuna", "write `${NAME}` in its place"),
        ("tracking.uri=https://me:hunter2@mlflow.example.com", "write `${NAME}` in its place"),
        ("tracking.uri=https://mlflow.example.com/?token=hunter2", "write `${NAME}` in its place"),
        ("data={source: folder, root: 's3://key:hunter2@bucket/photos'}", "give it as the store's own client wants it"),
        ("data={source: folder, root: 'https://host/photos?X-Amz-Signature=hunter2'}", "in its credentials file"),
        ("weights=https://me:hunter2@host/weights.safetensors", "give it as the store's own client wants it"),
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(override: str, how: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(override)
    told = str(caught.value).replace(f"--set {override}", "")
    assert "holds a password, which would be kept in the sweep's folder and shown in MLflow; " in told
    assert how in told
    assert "hunter2" not in told


def test_an_environment_variable_in_its_place_is_kept_by_name_and_put_in_when_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    spec = load(
        "search.storage=postgresql://me:${DB_PASSWORD}@db/optuna", "tracking.uri=https://me:${DB_PASSWORD}@mlflow"
    )
    assert "hunter2" not in dump_spec(spec)
    assert storage_url(spec, SweepPaths(tmp_path)) == "postgresql://me:hunter2@db/optuna"
    assert choose_uri(spec.tracking, Workspace(tmp_path)) == "https://me:hunter2@mlflow"
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(
        InputError,
        match=r"^`search\.storage` names the environment variable `DB_PASSWORD`, which is not set; set it\.$",
    ):
        storage_url(spec, SweepPaths(tmp_path))


def test_a_storage_from_the_environment_stays_there_if_it_has_a_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SWEEPER_STORAGE", "postgresql://me:hunter2@db/optuna")
    spec = with_storage(load())
    assert "hunter2" not in dump_spec(spec)
    assert storage_url(spec, SweepPaths(tmp_path)) == "postgresql://me:hunter2@db/optuna"
    monkeypatch.setenv("SWEEPER_STORAGE", "postgresql://db/optuna")
    assert with_storage(load()).search.storage == "postgresql://db/optuna"


def test_what_only_looks_like_a_password_is_none() -> None:
    for text in ("sqlite:////a/b.db", "https://host:5000/x", "s3://bucket/a@b", "postgresql://me@db/x", "/a:b@c"):
        assert not holds_secret(text)


def test_yaml_that_asks_for_an_object_is_no_spec(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for text in (f"name: !!python/object/apply:os.mkdir ['{made}']\n", "name: !!python/name:os.system\n"):
        with pytest.raises(SpecError):
            spec_of(Document.parse(text, name="s.yaml"))
    assert not made.exists()

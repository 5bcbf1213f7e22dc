"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests come first, so that the processes that share the suite end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the person who runs the tests reaches them, and no test writes to that person's cache."""
    for name in ("SWEEPER_ROOT", "SWEEPER_STORAGE", "MLFLOW_TRACKING_URI", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def project() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(params=["plain", "with space", "quo'te", "ünïcode"])
def strange_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder whose name people do use."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray on loopback that all tests of the session share; it takes seconds to start."""
    from sweeper.driver.cluster import connected

    with connected():
        yield

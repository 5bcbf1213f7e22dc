"""A sweep's folder: made once, found by name, held by one driver at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.errors import SweepFolderError
from sweeper.folder import find_sweep, held, is_running, list_sweeps, read_spec, require_new, workspace_at, write_folder
from sweeper.paths import Workspace
from sweeper.spec import SweepSpec

SPEC = SweepSpec.model_validate({"name": "mushrooms", "data": {"source": "digits"}, "backbone": "vit"})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one sweep."""
    workspace = Workspace(tmp_path / "sweeps")
    write_folder(require_new(workspace, SPEC.name), SPEC, source=None)
    return workspace


def test_a_written_sweep_is_found_by_name_and_by_folder(workspace: Workspace) -> None:
    paths = find_sweep(workspace, "mushrooms")
    assert read_spec(paths) == SPEC
    assert find_sweep(workspace, str(paths.root)) == paths
    assert list_sweeps(workspace) == ("mushrooms",)


def test_a_strange_folder_name_is_no_obstacle(strange_folder: Path) -> None:
    paths = require_new(Workspace(strange_folder), SPEC.name)
    write_folder(paths, SPEC, source=None)
    assert read_spec(find_sweep(Workspace(strange_folder), SPEC.name)) == SPEC


def test_a_sweep_that_exists_is_refused_with_the_command_that_goes_on(workspace: Workspace) -> None:
    with pytest.raises(SweepFolderError) as caught:
        require_new(workspace, "mushrooms")
    assert str(caught.value) == (
        f"The sweep `mushrooms` exists already in `{workspace.root}/mushrooms`; go on with `sweeper resume mushrooms`, "
        "or start another with `--set name=<new name>`."
    )


def test_a_sweep_that_does_not_exist_is_refused_with_the_nearest_name(workspace: Workspace) -> None:
    with pytest.raises(SweepFolderError) as caught:
        find_sweep(workspace, "mushroom")
    assert str(caught.value) == f"There is no sweep `mushroom` in `{workspace.root}`; did you mean `mushrooms`?"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    with pytest.raises(SweepFolderError) as caught:
        require_new(Workspace(in_the_way), "s")
    assert str(caught.value) == (
        f"The sweep's folder `{in_the_way}/s` cannot be written (Not a directory); choose another with `--root`."
    )


def test_a_held_sweep_is_refused_and_a_dead_holder_lets_go(workspace: Workspace) -> None:
    paths = find_sweep(workspace, "mushrooms")
    hold = (
        "import time; from pathlib import Path\n"
        "from sweeper.folder import held; from sweeper.paths import SweepPaths\n"
        f"with held(SweepPaths(Path({str(paths.root)!r}))): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert is_running(paths)
    with (
        pytest.raises(SweepFolderError, match=r"^The sweep `mushrooms` is running already; see `sweeper status"),
        held(paths),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert not is_running(paths)
    with held(paths):
        assert is_running(paths)


def test_the_workspace_is_the_option_then_the_environment_then_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert workspace_at(None).root == tmp_path / "sweeps"
    monkeypatch.setenv("SWEEPER_ROOT", "/elsewhere")
    assert workspace_at(None).root == Path("/elsewhere")
    assert workspace_at(tmp_path / "option").root == tmp_path / "option"
